import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { pauseFor } from './pause-for.ts';

describe('a pause', () => {
  it('lasts as long as it should, where nobody ends it', async () => {
    const began = performance.now();
    await pauseFor(30, new AbortController().signal);
    assert.ok(performance.now() - began >= 28);
  });

  it('ends at once, and without an error, with its signal', async () => {
    const over = new AbortController();
    const waiting = pauseFor(60_000, over.signal);
    over.abort(new Error('over'));
    await waiting;
    await pauseFor(60_000, over.signal);
  });
});
