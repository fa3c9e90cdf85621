import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { CaptureMemory } from './capture-memory.ts';

const REFUSED = 'netlink error: Operation not supported';

/** A capture of `lan0` as the script prints it; `left` names sections that were not asked for. */
function capture(options: { features?: string; left?: readonly string[]; index?: string } = {}): string {
  const { features = 'tx-checksumming: on', left = [], index = '2' } = options;
  const sections: [string, string, number][] = [
    ['capture', 'version 1\ndevice lan0\ncarrying lan0', 0],
    ['sysfs', `lan0 ifindex ${index}\nlan0 boot b00t`, 0],
    ['ethtool-k', features, 0],
    ['ethtool-g', 'RX: 256', 0],
    ['ethtool-l', REFUSED, 1],
    ['ethtool-u', `Cannot get RX rings: Operation not supported\nRX classification rule retrieval failed`, 1],
    ['ethtool-a', 'netlink error: No such device', 1],
    ['ethtool-T', 'PTP Hardware Clock: 0', 0],
    ['end', '', 0],
  ];
  return sections
    .filter(([name]) => !left.includes(name))
    .map(([name, text, code]) => `@@ ${name}\n${text === '' ? '' : `${text}\n`}@@. ${code}\n`)
    .join('');
}

const LASTING = ['ethtool-l', 'ethtool-u', 'ethtool-T'];

describe('what a capture leaves for the next', () => {
  it('is nothing before there was one', () => {
    const memory = new CaptureMemory();
    assert.equal(memory.known, '');
    assert.equal(memory.completed(capture()), capture());
  });

  it('is what the driver does not know, and its clock; not what failed otherwise, nor what can be set', () => {
    const memory = new CaptureMemory();
    memory.keep(capture());
    assert.equal(memory.known, ['b00t', '2', ...LASTING].join(' '));
  });

  it('is put back where it was left out', () => {
    const memory = new CaptureMemory();
    memory.keep(capture());
    const whole = memory.completed(capture({ left: LASTING }));
    const lines = (text: string) => text.split('\n').toSorted();
    assert.deepEqual(lines(whole ?? ''), lines(capture()));
    assert.match(whole ?? '', /@@ end\n@@\. 0\n$/);
  });

  it('counts for nothing where the device is configured otherwise', () => {
    const memory = new CaptureMemory();
    memory.keep(capture());
    assert.equal(memory.completed(capture({ left: LASTING, features: 'tx-checksumming: off' })), undefined);
  });

  it('gives way to what was asked all the same', () => {
    const memory = new CaptureMemory();
    memory.keep(capture());
    const another = capture({ index: '7', features: 'tx-checksumming: off' });
    assert.equal(memory.completed(another), another);
    memory.keep(another);
    assert.match(memory.known, /^b00t 7 /);
  });

  it('is not put into the capture of an interface without its device', () => {
    const memory = new CaptureMemory();
    memory.keep(capture());
    const away = capture({ left: [...LASTING, 'ethtool-k', 'ethtool-g', 'ethtool-a'] });
    assert.equal(memory.completed(away), away);
  });

  it('is never made of half a capture', () => {
    assert.throws(() => new CaptureMemory().keep(capture({ left: ['end'] })), {
      code: 'GUEST_COMMAND_FAILED',
    });
  });
});
