import assert from 'node:assert/strict';
import { test } from 'node:test';
import { carries } from './carrier.ts';

const TEXT = `lo               UNKNOWN        00:00:00:00:00:00 <LOOPBACK,UP,LOWER_UP>
br0              UNKNOWN        16:ef:5c:20:e2:fa <BROADCAST,MULTICAST,UP,LOWER_UP>
mig0             DOWN           02:53:46:78:00:01 <NO-CARRIER,BROADCAST,MULTICAST,UP>
migw0@if11       LOWERLAYERDOWN 2e:f4:88:dc:4a:d6 <NO-CARRIER,BROADCAST,MULTICAST,UP,M-DOWN>
up0@if21         UP             16:ef:5c:20:e2:fa <BROADCAST,MULTICAST,UP,LOWER_UP>
up1@if23         DOWN           16:ef:5c:20:e2:fa <BROADCAST,MULTICAST,UP,LOWER_UP>
`;

test('an interface carries traffic when it is up, has a carrier and is not said to be down', () => {
  assert.equal(carries(TEXT, 'up0'), true);
  assert.equal(carries(TEXT, 'br0'), true, 'a bridge that never lost its carrier stays UNKNOWN');
  assert.equal(carries(TEXT, 'mig0'), false);
  assert.equal(carries(TEXT, 'migw0'), false);
  assert.equal(carries(TEXT, 'up1'), false, 'the kernel has not acted on the carrier yet');
  assert.equal(carries(TEXT, 'up'), false, 'no such interface');
});
