/** What a state looks like when it is printed, parsed, is that state. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { parseCapture } from './capture.ts';
import { type Printed, printCapture, printedState } from './print.test-data.ts';

const identity = { mac: '52:54:00:00:00:01', pciPath: '0000:01:00.0' };

describe('a state that is printed and parsed', () => {
  it('is the same state, with nothing left over', () => {
    fc.assert(
      fc.property(printedState, (state) => {
        const shadow = parseCapture(printCapture(state), identity);
        const { link, addresses, routes, rules, neighbours, multicast, sysctls, driver } = shadow;
        assert.ok(driver);
        const { features, rings, channels, coalesce, pause } = driver;
        const parsed: Printed = {
          ...{ link, addresses, routes, rules, neighbours, multicast, sysctls },
          driver: { features, rings, channels, coalesce, pause },
        };
        assert.deepEqual(parsed, JSON.parse(JSON.stringify(state)));
        assert.deepEqual(shadow.unknown, []);
      }),
      { numRuns: 150 },
    );
  });
});
