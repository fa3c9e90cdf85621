/** What ends the program, and what it leaves behind: nothing. */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { groupEnds, shells, withGuest } from './fake-guest.test-data.ts';
import { shadow } from './plan.test-data.ts';
import { planReplay } from './plan.ts';

describe('the end of the program', () => {
  for (const each of shells) {
    const name = each.join(' ');

    it(`leaves no process and no file behind in ${name}, neither its own nor an earlier program's`, async () => {
      const plan = planReplay(shadow(), { continuity: 'replay' });
      await withGuest(plan, async (guest) => {
        const ended = async (group: number) => {
          await groupEnds(group);
          assert.ok(!existsSync(join(guest.dir, 'run')));
          assert.ok(!existsSync(`${guest.dir}.pids`));
        };
        await guest.start(each, plan);
        const earlier = guest.pid;
        await guest.start(each, plan);
        await groupEnds(earlier);
        const told = guest.pid;
        guest.command('attach');
        await guest.event('replayed');
        guest.command('stop');
        await guest.event('stopped');
        await ended(told);
        await guest.start(each, plan);
        await guest.endFromOutside(each);
        await ended(guest.pid);
        await guest.endFromOutside(each); // and once more, when there is nothing to end
      });
    });

    for (const signal of ['SIGTERM', 'SIGKILL', 'SIGHUP', 'SIGINT'] as const) {
      it(`leaves nothing behind in ${name} when ${signal} ends it at any moment`, async () => {
        const plan = planReplay(shadow(), { continuity: 'replay' });
        await withGuest(plan, async (guest) => {
          for (let times = 0; times < 3; times += 1) {
            // as early as can be: what it started may not even be what it is to be
            await guest.start(each, plan);
            process.kill(guest.pid, signal);
            await groupEnds(guest.pid);
            assert.ok(!existsSync(join(guest.dir, 'run')));
            assert.ok(!existsSync(`${guest.dir}.pids`));
          }
        });
      });
    }
  }
});
