import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { advertiseMask } from './link-modes.ts';
import { parseNtuple } from './parse-ntuple.ts';
import { parseFlowHash, parseRss, spreadOf, weightedTable } from './parse-rss.ts';
import { parseClock, parseEee, parseFec, parseMedia, parsePrivateFlags } from './parse-tuning.ts';

const lines = (text: string): string[] => text.split('\n');
const asked = (settings: readonly { name: string; value: string }[]) =>
  Object.fromEntries(settings.map(({ name, value }) => [name, value]));

const MEDIA = `Settings for eth0:
\tSupported ports: [ TP ]
\tSupported link modes:   10baseT/Half 10baseT/Full
\t                        100baseT/Half 100baseT/Full
\t                        1000baseT/Full
\tSupports auto-negotiation: Yes
\tAdvertised link modes:  10baseT/Half 10baseT/Full
\t                        100baseT/Half 100baseT/Full
\t                        1000baseT/Full
\tAdvertised auto-negotiation: Yes
\tSpeed: 1000Mb/s
\tDuplex: Full
\tAuto-negotiation: on
\tMDI-X: on (auto)
\tSupports Wake-on: pumbg
\tWake-on: g
        Current message level: 0x00000007 (7)
                               drv probe link
\tLink detected: yes`;

describe('ethtool DEV', () => {
  it('says what was set, not what was negotiated', () => {
    assert.deepEqual(asked(parseMedia(lines(MEDIA), assert.fail)), {
      'wake.on': 'g',
      'message.level': '0x00000007',
    });
  });
  it('says a speed that somebody fixed', () => {
    const text = MEDIA.replace('Auto-negotiation: on', 'Auto-negotiation: off').replace(
      'on (auto)',
      'off (forced)',
    );
    assert.deepEqual(asked(parseMedia(lines(text), assert.fail)), {
      'media.autoneg': 'off',
      'media.speed': '1000',
      'media.duplex': 'full',
      'media.mdix': 'off',
      'wake.on': 'g',
      'message.level': '0x00000007',
    });
  });
  it('says what is advertised where that is not everything', () => {
    const text = MEDIA.replace(
      'Advertised link modes:  10baseT/Half 10baseT/Full\n\t                        100baseT/Half 100baseT/Full\n\t                        1000baseT/Full',
      'Advertised link modes:  100baseT/Full\n\t                        1000baseT/Full',
    );
    const settings = asked(parseMedia(lines(text), assert.fail));
    assert.equal(settings['media.advertise'], '1000baseT/Full 100baseT/Full');
    assert.match(advertiseMask(['1000baseT/Full', '100baseT/Full']), /^0x28\/0x[0-9a-f]+$/);
  });
  it('reports modes that it cannot give back', () => {
    const reported: string[] = [];
    parseMedia(
      lines(
        MEDIA.replace(
          '\tAdvertised link modes:  10baseT/Half 10baseT/Full\n\t                        100baseT/Half 100baseT/Full',
          '\tAdvertised link modes:  9baseZ/Full',
        ),
      ),
      (_, text) => reported.push(text),
    );
    assert.deepEqual(reported, ['advertised: 9baseZ/Full 1000baseT/Full']);
  });
  it('says nothing of a device without media', () => {
    const text =
      'Settings for eth0:\n\tSupported link modes:   Not reported\n\tSupports auto-negotiation: No\n\tSpeed: Unknown!\n\tDuplex: Unknown! (255)\n\tAuto-negotiation: off';
    assert.deepEqual(parseMedia(lines(text), assert.fail), []);
  });
});

describe('an indirection table', () => {
  const table = (size: number, of: (at: number) => number) => Array.from({ length: size }, (_, at) => of(at));
  it('is said in words that hold for any size', () => {
    assert.equal(
      spreadOf(
        table(128, (at) => at % 4),
        4,
      ),
      'equal',
    );
    assert.equal(
      spreadOf(
        table(128, (at) => at % 2),
        4,
      ),
      'equal 2',
    );
    assert.equal(
      spreadOf(
        table(128, (at) => (at < 96 ? 0 : 1)),
        2,
      ),
      'weight 3 1',
    );
    assert.equal(
      spreadOf(
        table(128, (at) => (at < 32 ? 1 : 0)),
        2,
      ),
      'counts 96 32',
    );
    assert.equal(
      spreadOf(
        table(128, () => 1),
        2,
      ),
      'weight 0 1',
    );
  });
  it('of weights is what the words say it is', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(9), { minLength: 1, maxLength: 16 }).filter((all) => all.some((one) => one > 0)),
        fc.constantFrom(16, 40, 128),
        (weights, size) => {
          const made = weightedTable(weights, size);
          const [kind, ...words] = spreadOf(made, weights.length).split(' ');
          if (kind === 'equal') return;
          assert.equal(kind, 'weight');
          assert.deepEqual(weightedTable(words.map(Number), size), made);
        },
      ),
    );
  });
  it('is read with the key and the function', () => {
    const text = (key: string) =>
      `RX flow hash indirection table for eth0 with 2 RX ring(s):\n    0:      0     1     0     1\n    4:      0     1     0     1\nRSS hash key:\n${key}\nRSS hash function:\n    toeplitz: on\n    xor: off`;
    assert.deepEqual(asked(parseRss(lines(text('b5:c8:8e')), 'b5:c8:8e:75:ae')), {
      'rss.spread': 'equal',
      'rss.key': 'default',
      'rss.function': 'toeplitz',
    });
    assert.equal(asked(parseRss(lines(text('b5:c8:8f')), 'b5:c8:8e:75:ae'))['rss.key'], 'b5:c8:8f');
    assert.equal(asked(parseRss(lines(text('Operation not supported')), undefined))['rss.key'], undefined);
  });
});

describe('what flows are spread by', () => {
  it('is said in the letters that -N takes', () => {
    const text =
      'TCP over IPV4 flows use these fields for computing Hash flow key:\nIP SA\nIP DA\nL4 bytes 0 & 1 [TCP/UDP src port]\nL4 bytes 2 & 3 [TCP/UDP dst port]\n';
    assert.equal(parseFlowHash(lines(text)), 'sdfn');
    assert.equal(parseFlowHash([]), undefined);
  });
});

describe('rules for flows', () => {
  const RULES = `4 RX rings available
Total 3 rules

Filter: 7
\tRule Type: TCP over IPv4
\tSrc IP addr: 10.0.0.0 mask: 0.255.255.255
\tDest IP addr: 0.0.0.0 mask: 255.255.255.255
\tTOS: 0x0 mask: 0xff
\tSrc port: 0 mask: 0xffff
\tDest port: 80 mask: 0x0
\tAction: Direct to queue 3

Filter: 8
\tFlow Type: Raw Ethernet
\tSrc MAC addr: 00:00:00:00:00:00 mask: FF:FF:FF:FF:FF:FF
\tDest MAC addr: 52:54:00:AB:CD:EF mask: 00:00:00:00:00:00
\tEthertype: 0x800 mask: 0x0
\tAction: Drop

Filter: 9
\tRule Type: Something new
\tAction: Direct to queue 1
`;
  it('are said in the words that -U takes; what cannot be is reported', () => {
    const reported: string[] = [];
    assert.deepEqual(asked(parseNtuple(lines(RULES), (_, text) => reported.push(text))), {
      'ntuple.7': 'flow-type tcp4 src-ip 10.0.0.0 m 0.255.255.255 dst-port 80 action 3',
      'ntuple.8': 'flow-type ether dst 52:54:00:ab:cd:ef proto 0x800 action -1',
    });
    assert.deepEqual(reported, ['Filter: 9\n\tRule Type: Something new\n\tAction: Direct to queue 1']);
  });
});

describe('further settings', () => {
  it('private flags may have any name', () => {
    assert.deepEqual(
      asked(parsePrivateFlags(lines('Private flags for eth0:\ns0ix-enabled: off\nlegacy rx   : on'))),
      {
        'private-flag.s0ix-enabled': 'off',
        'private-flag.legacy rx': 'on',
      },
    );
  });
  it('Energy-Efficient Ethernet', () => {
    const text =
      'EEE settings for eth0:\n\tEEE status: enabled - active\n\tTx LPI: 17 (us)\n\tSupported EEE link modes:  100baseT/Full';
    assert.deepEqual(asked(parseEee(lines(text))), {
      'eee.eee': 'on',
      'eee.tx-lpi': 'on',
      'eee.tx-timer': '17',
    });
    assert.deepEqual(asked(parseEee(lines('\tEEE status: disabled\n\tTx LPI: disabled'))), {
      'eee.eee': 'off',
      'eee.tx-lpi': 'off',
    });
    assert.deepEqual(parseEee(lines('\tEEE status: not supported')), []);
  });
  it('forward error correction as configured, not as active', () => {
    const text = 'FEC parameters for eth0:\nConfigured FEC encodings: RS BaseR\nActive FEC encoding: RS';
    assert.deepEqual(asked(parseFec(lines(text))), { 'fec.encoding': 'baser rs' });
    assert.deepEqual(parseFec(lines('Configured FEC encodings: None')), []);
  });
  it('a clock, of both forms that ethtool has', () => {
    const text = 'Capabilities:\n\thardware-transmit\n\tsoftware-receive\nPTP Hardware Clock: 0';
    assert.deepEqual(asked(parseClock(lines(text))), {
      'clock.index': '0',
      'clock.stamps': 'hardware-transmit',
    });
    assert.deepEqual(asked(parseClock(lines('Hardware timestamp provider index: 2'))), {
      'clock.index': '2',
    });
    assert.deepEqual(parseClock(lines('PTP Hardware Clock: none')), []);
  });
});
