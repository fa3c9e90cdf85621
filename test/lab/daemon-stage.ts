/** A VM under two daemons whose monitors can be tampered with, and what is looked at from outside. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { cacheDirectory } from '../../src/base/cache-dir.ts';
import { deadline } from '../../src/base/deadline.ts';
import { API } from '../../src/daemon/api/contract.ts';
import type { MigrationDetail } from '../../src/daemon/api/model.ts';
import type { VmSpec } from '../../src/hypervisor/qemu/spec.ts';
import type { LabHostName } from '../../src/lab/daemons.ts';
import { ApiDriver } from '../../src/lab/faults/api-driver.ts';
import { recordsOf, viewOf } from '../../src/lab/faults/look.ts';
import { makeLab, type Standing } from '../../src/lab/faults/matrix.ts';
import { ensureGuestImage } from '../../src/lab/image/image.ts';

export const VM = 'web1';
/** For whatever must happen in the end; the machine may be busy. */
const END_MS = 240_000;
const ECHO_MS = 30_000;
const LOOK_MS = 200;

export interface DaemonStageOptions {
  devices: Record<LabHostName, readonly string[]>;
  disks?: VmSpec['disks'];
}

export async function makeStage({ devices, disks = [] }: DaemonStageOptions): Promise<Standing> {
  const image = await ensureGuestImage({ cacheDir: cacheDirectory(), log: () => {} });
  const driver = (lab: ConstructorParameters<typeof ApiDriver>[0]) =>
    new ApiDriver(lab, { image, vm: VM, disks });
  return makeLab({ driver, devices, vm: VM, log: console.log });
}

/** Waits until a host's daemon says that a migration or swap has ended. A daemon that is away is asked again. */
export async function untilEnded(
  { lab }: Standing['stage'],
  host: LabHostName,
  id: string,
): Promise<MigrationDetail> {
  const signal = deadline(`the end of ${id}`, END_MS);
  for (;;) {
    const found = await lab.daemons[host].client
      .call(API.getMigration, { params: { id }, query: {} })
      .catch(() => undefined);
    if (found?.state === 'ended') return found;
    signal.throwIfAborted();
    await delay(LOOK_MS);
  }
}

/** One copy runs, on this host, with its device (or without), and every connection that was opened before lives. */
export async function assertOneLives(
  { gate, pulse, lab }: Standing['stage'],
  host: LabHostName,
  expected: { device: boolean },
): Promise<void> {
  const copies = await gate.copies(VM);
  assert.deepEqual(
    copies.map((copy) => [copy.host, copy.status, copy.device]),
    [[host, 'running', expected.device]],
  );
  const { connections, answers } = await pulse.check(ECHO_MS);
  assert.ok(answers, 'a new connection is answered');
  for (const [n, { alive, corrupt, why }] of connections.entries())
    assert.deepEqual([alive, corrupt], [true, 0], `connection ${n}: ${why}`);
  const { owner } = await recordsOf(lab, VM);
  assert.equal(owner, host);
}

/** The devices that are claimed, and what hosts have of the VM that does not run on them. */
export async function assertNothingLeft(
  { lab, gate, ownTaps }: Standing['stage'],
  host: LabHostName,
  device: string,
): Promise<void> {
  const { claims } = await recordsOf(lab, VM);
  assert.deepEqual(claims, [{ host, device }]);
  for (const each of ['a', 'b'] as const) {
    const view = await viewOf(lab, gate, each, 'vms');
    const own = each === host;
    assert.deepEqual(
      [view.taps.toSorted(), view.directories, view.programs, view.rules, view.illness],
      [own ? ownTaps.toSorted() : [], own ? [VM] : [], [], [], undefined],
      `host ${each}`,
    );
  }
}

/** Byte of QEMU's lock on an image that says that the holder writes to it: 100 and the number of the permission. */
const WRITES = 101;

/** Processes that hold the lock to write to an image, of those given. */
export function writersOf(path: string, pids: readonly number[]): number[] {
  return pids.filter((pid) => {
    const fds = `/proc/${pid}/fd`;
    return readdirSync(fds).some((fd) => {
      try {
        if (readlinkSync(`${fds}/${fd}`) !== path) return false;
        const locks = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8').matchAll(
          /^lock:.*OFDLCK\s.*\s(\d+) (\d+|EOF)$/gm,
        );
        return [...locks].some(
          ([, from, to]) => Number(from) <= WRITES && (to === 'EOF' || Number(to) >= WRITES),
        );
      } catch {
        return false; // closed meanwhile
      }
    });
  });
}
