/** VMs over the API of a daemon whose QEMUs are processes without a guest. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ConsolePiece, Vm, VmDetail } from './api/model-vms.ts';
import { problemIn, type Reply, scratch, type TestDaemon, testDaemon } from './fixture.test-data.ts';
import { makeBench } from './vms/fixture.test-data.ts';

const WEB1 = {
  name: 'web1',
  memoryMiB: 64,
  boot: { kernel: '/boot/vmlinuz' },
  nics: [{ id: 'net0', mac: '52:54:00:5f:00:10', device: 'nic0', standby: 'virtio' }],
};

function post({ send }: TestDaemon, path: string, body: unknown): Promise<Reply> {
  const headers = { 'content-type': 'application/json' };
  return send(path, { method: 'POST', headers, body: JSON.stringify(body) });
}

const vmIn = ({ status, body }: Reply, expected = 200) => {
  assert.equal(status, expected, body);
  return Vm.parse(JSON.parse(body));
};

test('a VM is defined, started, seen, stopped and forgotten; a restart of the daemon leaves it running', async (t) => {
  const bench = makeBench(t);
  const directory = scratch(t);
  const daemon = await testDaemon(t, {}, { machine: bench.host }, directory);
  vmIn(await post(daemon, '/v1/vms', WEB1), 201);
  assert.equal(problemIn(await post(daemon, '/v1/vms', WEB1)).code, 'VM_EXISTS');
  const started = vmIn(await post(daemon, '/v1/vms/web1/start', {}));
  assert.deepEqual([started.state, started.nics[0]?.model], ['running', 'e1000e']);
  await daemon.daemon.stop();
  const again = await testDaemon(t, {}, { machine: bench.host }, directory);
  const found = VmDetail.parse(JSON.parse((await again.send('/v1/vms/web1')).body));
  assert.deepEqual([found.state, found.pid, found.epoch], ['running', started.pid, 1]);
  assert.equal(problemIn(await again.send('/v1/vms/web1', { method: 'DELETE' })).code, 'VM_STATE');
  assert.equal(vmIn(await post(again, '/v1/vms/web1/pause', {})).state, 'paused');
  assert.equal(vmIn(await post(again, '/v1/vms/web1/resume', {})).state, 'running');
  assert.equal(vmIn(await post(again, '/v1/vms/web1/stop', { force: true })).state, 'stopped');
  assert.equal((await again.send('/v1/vms/web1', { method: 'DELETE' })).status, 200);
  assert.deepEqual(JSON.parse((await again.send('/v1/vms')).body), { items: [], next: null });
});

test('names of files, machines and devices that mean more than they say are refused', async (t) => {
  const bench = makeBench(t);
  const daemon = await testDaemon(t, {}, { machine: bench.host });
  const bad = [
    { name: '../web1' },
    { machine: 'q35,dumpdtb=/etc/passwd' },
    { cpu: 'qemu64 -monitor stdio' },
    { boot: { kernel: '/boot/../etc/shadow' } },
    { boot: { kernel: '/boot/vmlinuz', append: 'quiet\n-S' } },
    { nics: [{ ...WEB1.nics[0], id: 'net0;reboot' }] },
    { nics: [{ ...WEB1.nics[0], mac: '01:00:5e:00:00:01' }] },
  ];
  for (const change of bad)
    assert.equal((await post(daemon, '/v1/vms', { ...WEB1, ...change })).status, 400, JSON.stringify(change));
  const twice = { ...WEB1, nics: [WEB1.nics[0], { ...WEB1.nics[0], id: 'net1', device: 'nic1' }] };
  assert.equal(problemIn(await post(daemon, '/v1/vms', twice)).code, 'INPUT_FIELD');
  const nic9 = { ...WEB1, nics: [{ ...WEB1.nics[0], device: 'nic9' }] };
  assert.equal(problemIn(await post(daemon, '/v1/vms', nic9)).code, 'UNKNOWN_DEVICE');
  assert.deepEqual(JSON.parse((await daemon.send('/v1/vms')).body), { items: [], next: null });
});

test('a console comes in pieces that do not cut a character, and is waited for', async (t) => {
  const bench = makeBench(t);
  const daemon = await testDaemon(t, {}, { machine: bench.host });
  await post(daemon, '/v1/vms', WEB1);
  await post(daemon, '/v1/vms/web1/start', {});
  const file = join(bench.host.vmDirectory('web1'), 'serial.log');
  writeFileSync(file, 'booted: größe ✓\n');
  const read = async (query: string) =>
    ConsolePiece.parse(JSON.parse((await daemon.send(`/v1/vms/web1/console?${query}`)).body));
  const whole = await read('from=0');
  assert.deepEqual([whole.text, whole.next, whole.live], ['booted: größe ✓\n', whole.size, true]);
  let text = '';
  for (let from = 0; from < whole.size; ) {
    const part = await read(`from=${from}&bytes=3`);
    assert.ok(part.next > from);
    text += part.text;
    from = part.next;
  }
  assert.equal(text, whole.text);
  const waited = read(`from=${whole.size}&waitSeconds=20`);
  writeFileSync(file, 'login: ', { flag: 'a' });
  assert.equal((await waited).text, 'login: ');
  await post(daemon, '/v1/vms/web1/stop', { force: true });
  const kept = await read('from=0');
  assert.deepEqual([kept.text, kept.live], ['booted: größe ✓\nlogin: ', false]);
});

test('a record is taken over by the word of an administrator, which is kept', async (t) => {
  const bench = makeBench(t);
  const directory = scratch(t);
  const path = join(bench.directory, 'ownership.db');
  const settings = { ownership: { kind: 'sqlite', path } };
  const daemon = await testDaemon(t, settings, { machine: bench.host }, directory);
  await post(daemon, '/v1/vms', WEB1);
  await bench.ownership.register('web1', 'beta');
  const refused = problemIn(await post(daemon, '/v1/vms/web1/start', {}));
  assert.deepEqual([refused.code, refused.status], ['START_REFUSED', 409]);
  const overridden = await post(daemon, '/v1/vms/web1/start', { override: { why: 'I know' } });
  assert.equal(problemIn(overridden).code, 'START_REFUSED', 'no word stands against a record');
  const taken = await post(daemon, '/v1/vms/web1/take-over', { why: 'its power was cut' });
  assert.deepEqual(JSON.parse(taken.body), { vm: 'web1', owner: 'alpha', epoch: 2 });
  assert.equal(vmIn(await post(daemon, '/v1/vms/web1/start', {})).state, 'running');
  const { items } = JSON.parse((await daemon.send('/v1/overrides')).body);
  assert.deepEqual([items[0].vm, items[0].why, items.length], ['web1', 'its power was cut', 1]);
});
