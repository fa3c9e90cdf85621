/**
 * A daemon is killed in the middle of a swap, at each place where something else must follow: the next one takes
 * it back, connections live, and nothing is left over.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { deadline } from '../../src/base/deadline.ts';
import { findProgram } from '../../src/base/find-program.ts';
import { API } from '../../src/daemon/api/contract.ts';
import type { ProxyHooks } from '../../src/hypervisor/qmp/proxy.ts';
import type { Standing } from '../../src/lab/faults/matrix.ts';
import { listLeftovers } from '../../src/lab/network/network.ts';
import { assertNothingLeft, assertOneLives, makeStage, untilEnded, VM } from './daemon-stage.ts';

const skip = findProgram('etcd') === undefined && 'there is no etcd on this machine';
const LIMIT = { timeout: 600_000 };
const WAIT_MS = 120_000;
const WEB1 = { params: { vm: VM }, query: {} };

/** Where the daemon is killed: at the beginning of a phase, or when its monitor is told or tells something. */
type Place = { phase: string } | { command: string } | { reply: string } | { event: string };

/** Where nothing stands above the device; then it does. */
const BARE: readonly Place[] = [{ event: 'DEVICE_DELETED' }, { reply: 'device_add' }];
const PLACES: readonly Place[] = [
  { phase: 'reserve' },
  { phase: 'stage' },
  { phase: 'detach' },
  { command: 'device_del' },
  { event: 'DEVICE_DELETED' },
  { phase: 'attach' },
  { command: 'device_add' },
  { reply: 'device_add' },
  { command: 'announce-self' },
];
const nameOf = (place: Place) => Object.entries(place).map(([kind, what]) => `${kind} ${what}`)[0] ?? '';

describe('swaps whose daemon dies', { skip }, () => {
  let standing: Standing;
  before(async () => {
    standing = await makeStage({ devices: { a: ['e1000e', 'vmxnet3'], b: ['vmxnet3'] } });
  }, LIMIT);
  after(async () => {
    const id = standing?.stage.lab.id;
    await standing?.close();
    if (id !== undefined) assert.deepEqual(listLeftovers(id), { namespaces: [], processes: [] });
  });
  const client = () => standing.stage.lab.daemons.a.client;
  const deviceOf = async () => (await client().call(API.getVm, WEB1)).nics[0]?.device ?? '';
  const spareOf = (device: string) => (device === 'nic0' ? 'nic1' : 'nic0');

  /** Hooks that call `kill` at the place, once; what passes there is lost with the daemon or not, as it happens. */
  function hooksAt(place: Place, kill: () => void): ProxyHooks {
    const at = (name: string, wanted: string) => {
      if (name === wanted) kill();
      return 'pass' as const;
    };
    if ('command' in place) return { onCommand: (name) => at(name, place.command) };
    if ('reply' in place) return { onReply: (name) => at(name, place.reply) };
    if ('event' in place) return { onEvent: (name) => at(name, place.event) };
    return {};
  }

  /** Begins something, kills the daemon there, starts it again, and waits for the end. */
  async function dieAt(place: Place, begin: () => Promise<{ id: string }>) {
    const { stage } = standing;
    const { gate, followers, lab } = stage;
    followers.a.forget();
    const { promise: there, resolve } = Promise.withResolvers<void>();
    gate.hooks.a = hooksAt(place, () => {
      lab.daemons.a.kill();
      resolve();
    });
    try {
      const { id } = await begin();
      const signal = deadline(nameOf(place), WAIT_MS);
      if ('phase' in place) {
        await followers.a.until(
          (events) =>
            events.some(({ type, data }) => type === 'migration.phase' && data.phase === place.phase) ||
            undefined,
          signal,
        );
        lab.daemons.a.kill();
      } else {
        signal.addEventListener('abort', () => resolve(), { once: true });
        await there;
        signal.throwIfAborted();
      }
      await lab.daemons.a.gone();
      gate.hooks.a = {};
      await lab.daemons.a.start();
      return await untilEnded(stage, 'a', id);
    } finally {
      gate.hooks.a = {};
      await lab.daemons.a.start();
    }
  }

  async function assertWhole(device: string): Promise<void> {
    const { stage } = standing;
    await assertOneLives(stage, 'a', { device: true });
    assert.equal(await deviceOf(), device);
    await assertNothingLeft(stage, 'a', device);
  }

  const cases = [
    ...BARE.map((place) => ({ place, continuity: 'replay' as const })),
    ...PLACES.map((place) => ({ place, continuity: 'auto' as const })),
  ];
  for (const { place, continuity } of cases)
    test(`a swap (${continuity}) whose daemon is killed at ${nameOf(place)}`, LIMIT, async (t) => {
      const old = await deviceOf();
      const body = { with: spareOf(old), continuity };
      const ended = await dieAt(place, () => client().call(API.swapDevice, { ...WEB1, body }));
      const told = JSON.stringify([ended.ending, ended.error, ended.result], undefined, 1);
      assert.ok(['rolled-back', 'completed', 'degraded'].includes(ended.ending ?? ''), told);
      t.diagnostic(`${ended.ending}`);
      // what is degraded was mended by the recovery itself, as far as it could
      await assertWhole(ended.ending === 'rolled-back' ? old : spareOf(old));
    });
});
