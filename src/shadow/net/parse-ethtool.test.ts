import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { driverStateOf, parseCoalesce, parseFeatures, parseLimits, parsePause } from './parse-ethtool.ts';

const lines = (text: string): string[] => text.split('\n');

describe('ethtool -k', () => {
  it('tells parts from aggregates, and fixed features from those that can be changed', () => {
    assert.deepEqual(
      parseFeatures(
        lines(
          'Features for eth0:\nrx-checksumming: on\ntx-checksumming: on\n\ttx-checksum-ipv4: off [fixed]\n\ttx-checksum-sctp: off [requested on]\nlarge-receive-offload: off [fixed]',
        ),
      ),
      [
        { name: 'rx-checksumming', on: true, fixed: false },
        { name: 'tx-checksum-ipv4', on: false, fixed: true },
        { name: 'tx-checksum-sctp', on: false, fixed: false },
        { name: 'large-receive-offload', on: false, fixed: true },
      ],
    );
  });
});

describe('ethtool -g and -l', () => {
  it('give what can be set, with its maximum, under the names that -G and -L take', () => {
    assert.deepEqual(
      parseLimits(
        lines(
          'Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t4096\nRX Mini:\t2048\nRX Jumbo:\t0\nTX:\t\t4096\nCurrent hardware settings:\nRX:\t\t1024\nRX Mini:\t128\nRX Jumbo:\t0\nTX:\t\tn/a\nRX Buf Len:\t2048\nTX Push:\toff',
        ),
      ),
      [
        { name: 'rx', value: '1024', max: '4096' },
        { name: 'rx-mini', value: '128', max: '2048' },
        { name: 'rx-buf-len', value: '2048' },
      ],
    );
  });
  it('give nothing without the current settings', () => {
    assert.deepEqual(parseLimits(lines('Pre-set maximums:\nRX:\t\t4096')), []);
  });
});

describe('ethtool -c', () => {
  it('gives pairs under the names that -C takes', () => {
    assert.deepEqual(
      parseCoalesce(
        lines(
          'Coalesce parameters for eth0:\nAdaptive RX: off  TX: n/a\nrx-usecs:\t3\nrx-frames: n/a\n\nCQE mode RX: on  TX: off\n',
        ),
      ),
      [
        { name: 'adaptive-rx', value: 'off' },
        { name: 'rx-usecs', value: '3' },
        { name: 'cqe-mode-rx', value: 'on' },
        { name: 'cqe-mode-tx', value: 'off' },
      ],
    );
  });
});

describe('ethtool -a', () => {
  it('gives what was set, not what was negotiated', () => {
    assert.deepEqual(
      parsePause(
        lines(
          'Pause parameters for eth0:\nAutonegotiate:\ton\nRX:\t\toff\nTX:\t\ton\nRX negotiated: on\nTX negotiated: on',
        ),
      ),
      [
        { name: 'autoneg', value: 'on' },
        { name: 'rx', value: 'off' },
        { name: 'tx', value: 'on' },
      ],
    );
  });
});

describe('a driver that supports nothing', () => {
  it('has empty parts', () => {
    const failed = { name: 'ethtool-g', code: 1, lines: ['netlink error: Operation not supported'] };
    const facts = { mtu: { min: 0, max: 0 }, sysfs: new Map(), name: 'eth0' };
    assert.deepEqual(driverStateOf(new Map([['ethtool-g', failed]]), facts, assert.fail), {
      features: [],
      rings: [],
      channels: [],
      coalesce: [],
      pause: [],
      tuning: [],
      layout: { rx: 0, tx: 0, vectors: [] },
    });
  });
});
