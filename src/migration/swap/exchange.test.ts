import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { VmSpec as Spec, type VmSpec, vmPaths } from '../../hypervisor/qemu/spec.ts';
import { SqliteOwnership } from '../../ownership/sqlite.ts';
import { Journal } from '../journal.ts';
import { initialState } from '../machine.ts';
import type { RunningVm } from '../vm.ts';
import { exchangeOf, holdsOld, LET_GO, letGoOfOld, noteExchange } from './exchange.ts';

const OLD = { id: 'nic0', model: 'e1000e' };
const NEW = { id: 'nic1', model: 'vmxnet3' };

function specWith({ id: device, model }: typeof OLD): VmSpec {
  const nic = { id: 'net0', mac: '52:54:00:00:00:01', network: 'lan', standby: 'none' as const };
  const boot = { kernel: '/k' };
  return Spec.parse({ name: 'web1', memoryMiB: 64, boot, nics: [{ ...nic, direct: { device, model } }] });
}

for (const recorded of [OLD, NEW])
  test(`who died with ${recorded.id} in the VM's record: a later process frees the old device`, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'sf-exchange-'));
    const places = join(directory, 'web1');
    mkdirSync(places);
    const journal = new Journal(join(directory, 'journal.db'));
    const ownership = new SqliteOwnership(join(directory, 'ownership.db'));
    t.after(() => {
      journal.dispose();
      ownership.close();
      rmSync(directory, { recursive: true });
    });
    journal.open({
      id: 's1',
      vm: 'web1',
      source: 'a',
      destination: 'a',
      request: {},
      state: initialState(false),
    });
    assert.equal(exchangeOf(journal, 's1'), undefined);
    noteExchange(journal, 's1', { nic: 'net0', old: OLD, new: NEW });
    for (const { id: device } of [OLD, NEW]) await ownership.claimDevice({ host: 'a', device, vm: 'web1' });
    assert.equal(holdsOld(journal.steps('s1')), false, 'it may still go back');
    journal.end('s1', journal.begin('s1', 'settle', LET_GO, []), 'failed', { error: 'no store' });
    assert.equal(holdsOld(journal.steps('s1')), true);

    const identity = { pid: 1, startTicks: '1' };
    const qemu = { spec: specWith(recorded), directory: places, host: 'a', identity };
    // nothing of it is asked
    const vm: RunningVm = Object.assign(Object.create(null), { host: { name: 'a' }, qemu });
    const exchange = exchangeOf(journal, 's1');
    assert.ok(exchange);
    await letGoOfOld(exchange, { vm, ownership, journal, migration: 's1' });
    const claims = await ownership.claims('a');
    assert.deepEqual(
      claims.map(({ device }) => device),
      ['nic1'],
    );
    assert.deepEqual(vm.qemu.spec.nics[0]?.direct, { device: 'nic1', model: 'vmxnet3' });
    assert.match(readFileSync(vmPaths(places).record, 'utf8'), /"device":"nic1"/);
    assert.equal(holdsOld(journal.steps('s1')), false);
  });
