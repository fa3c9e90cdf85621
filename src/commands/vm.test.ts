import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VmDefinition } from '../daemon/api/model-vms.ts';
import { harmless, renderVm } from './show-vm.ts';
import { parseText } from './vm.ts';

test('what a guest writes changes nothing in a terminal but its text', () => {
  assert.equal(harmless('ok\r\n\u001b[2Jgone\u0007\ta\u202eb'), 'ok\n\\x1b[2Jgone\\x07\ta\\u202eb');
});

test('a definition is read from YAML, and everything that is wrong with it is told', () => {
  const text = 'name: web1\nmemoryMiB: 256\nboot: { kernel: /boot/vmlinuz }\n';
  assert.equal(parseText(VmDefinition, 'web1.yaml', text).machine, 'q35');
  assert.throws(
    () => parseText(VmDefinition, 'web1.yaml', 'name: Web 1\nmemoryMiB: 1\nboot: { kernel: x }\n'),
    {
      code: 'INPUT_FIELD',
      message: /web1\.yaml: name: .*memoryMiB: .*boot\.kernel: an absolute path/,
    },
  );
  assert.throws(() => parseText(VmDefinition, 'web1.yaml', 'a: [1'), { code: 'INPUT_FIELD' });
});

test('what an adopted VM cannot do is shown with the reason', () => {
  const shown = renderVm({
    ...{
      name: 'old',
      host: 'alpha',
      state: 'running',
      why: null,
      busy: null,
      pid: 7,
      epoch: 1,
      origin: 'adopted',
    },
    ...{ memoryMiB: 64, cpus: 1, machine: 'pc-q35-7.2', nics: [], definedMs: 0, spec: {} },
    adopted: {
      ...{ socket: '/run/old.sock', whole: false },
      abilities: [{ what: 'migrate', can: false, reason: 'it has no port for the replay program' }],
    },
  });
  assert.match(shown, /cannot migrate: it has no port for the replay program/);
});
