/** Boots the lab's guest image under QEMU's emulator: it comes up, its agent answers, its services work. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { z } from 'zod';
import { deadline, raceSignal } from '../../src/base/deadline.ts';
import { ensureGuestImage, type GuestImage } from '../../src/lab/image/image.ts';
import { guestKernelArgs } from '../../src/lab/image/kernel-args.ts';
import {
  AGENT_PORT,
  GUEST_SERVICES,
  patternBlock,
  READY_LINE,
  SETUP_FW_CFG,
} from '../../src/lab/image/services.ts';

const BUILD_MS = 180_000;
const BOOT_MS = 20_000;
const COMMAND_MS = 20_000;

const Reply = z.object({ return: z.unknown().optional(), error: z.object({ desc: z.string() }).optional() });
const Started = z.object({ pid: z.number() });
const Status = z.object({
  exited: z.boolean(),
  exitcode: z.number().optional(),
  'out-data': z.string().optional(),
});

/** The guest agent's socket: one command at a time. */
class Agent {
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  send(execute: string, args?: Record<string, unknown>): void {
    this.#socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
  }

  async call(execute: string, args?: Record<string, unknown>): Promise<unknown> {
    this.send(execute, args);
    const line = await raceSignal(this.#lines.next(), deadline(execute, COMMAND_MS));
    const reply = Reply.parse(JSON.parse(String(line.value)));
    assert.equal(reply.error, undefined);
    return reply.return;
  }

  /** Runs a shell command in the guest; resolves to what it wrote. */
  async run(command: string): Promise<string> {
    const options = { path: '/bin/sh', arg: ['-c', command], 'capture-output': true };
    const { pid } = Started.parse(await this.call('guest-exec', options));
    const signal = deadline(command, COMMAND_MS);
    for (;;) {
      signal.throwIfAborted();
      // the agent offers no way to wait for a command but to ask again
      const status = Status.parse(await this.call('guest-exec-status', { pid }));
      if (!status.exited) continue;
      const output = Buffer.from(status['out-data'] ?? '', 'base64').toString('utf8');
      assert.equal(status.exitcode, 0, `${command}: ${output}`);
      return output.trim();
    }
  }
}

async function waitForLine(qemu: ChildProcess, wanted: string, signal: AbortSignal): Promise<void> {
  assert.ok(qemu.stdout);
  const seen: string[] = [];
  const arrived = (async () => {
    assert.ok(qemu.stdout);
    for await (const line of createInterface({ input: qemu.stdout })) {
      seen.push(line);
      if (line.includes(wanted)) return;
    }
    assert.fail(`QEMU ended before the guest said "${wanted}":\n${seen.join('\n')}`);
  })();
  await raceSignal(arrived, signal);
}

describe('the lab guest image', () => {
  let dir: string;
  let image: GuestImage;
  let qemu: ChildProcess | undefined;
  let agent: Agent;
  let socket: Socket | undefined;
  const cacheDir = process.env.SHADOWFERRY_CACHE ?? join(import.meta.dirname, '../../.cache');

  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'shadowferry-image-'));
    image = await ensureGuestImage({
      cacheDir,
      log: (line) => console.log(line),
      signal: deadline('building the guest image', BUILD_MS),
    });
  });

  after(async () => {
    socket?.destroy();
    if (qemu && qemu.exitCode === null && qemu.signalCode === null) {
      qemu.kill('SIGKILL');
      await once(qemu, 'exit');
    }
    await rm(dir, { recursive: true, force: true });
  });

  it('is found again without being built', async () => {
    const started = performance.now();
    const lines: string[] = [];
    assert.deepEqual(await ensureGuestImage({ cacheDir, log: (line) => lines.push(line) }), image);
    console.log(`found in ${Math.round(performance.now() - started)} ms`);
    assert.deepEqual(lines, []);
  });

  it('boots, runs the setup script and says that it is ready', async () => {
    const agentSocket = join(dir, 'agent');
    const started = performance.now();
    qemu = spawn(
      'qemu-system-x86_64',
      [
        ...['-accel', 'tcg', '-machine', 'q35', '-cpu', 'qemu64', '-m', '256'],
        ...['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-serial', 'stdio'],
        ...['-kernel', image.kernel, '-initrd', image.initrd, '-append', guestKernelArgs()],
        ...['-fw_cfg', `name=${SETUP_FW_CFG},string=hostname set-up; ip link add d0 type dummy`],
        ...['-device', 'pcie-root-port,id=rp1,chassis=1,slot=1', '-device', 'e1000e,bus=rp1'],
        ...[
          '-device',
          'virtio-serial-pci',
          '-chardev',
          `socket,id=ga,path=${agentSocket},server=on,wait=off`,
        ],
        ...['-device', `virtserialport,chardev=ga,name=${AGENT_PORT}`],
      ],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await waitForLine(qemu, READY_LINE, deadline('the boot of the guest', BOOT_MS));
    console.log(`ready after ${Math.round(performance.now() - started)} ms`);
    socket = connect(agentSocket);
    agent = new Agent(socket);
    await agent.call('guest-ping');
    assert.equal(await agent.run('hostname; ls /sys/class/net'), 'set-up\nd0\neth0\nlo');
  });

  it('is the kernel it says, with iproute2 and the drivers of what is plugged in', async () => {
    assert.equal(await agent.run('uname -r'), image.kernelVersion);
    assert.match(await agent.run('ip -V; tc -V'), /^ip utility, iproute2.*\ntc utility, iproute2/);
    assert.equal(await agent.run('basename $(readlink /sys/class/net/eth0/device/driver)'), 'e1000e');
    await agent.run('modprobe -a bonding vmxnet3 sch_fq cls_u32 nvme dm-mirror && ip link add b0 type bond');
  });

  it('echoes over IPv4 and IPv6, many connections at once', async () => {
    const { echo } = GUEST_SERVICES;
    assert.equal(await agent.run(`printf four | socat -t 9 - TCP:127.0.0.1:${echo}`), 'four');
    assert.equal(await agent.run(`printf six | socat -t 9 - TCP:[::1]:${echo}`), 'six');
    const one = `printf "%s\\n" $i | socat -t 9 - TCP:127.0.0.1:${echo}`;
    const all = await agent.run(`for i in $(seq 20); do ${one} & done | sort -n; wait`);
    assert.deepEqual(
      all.split('\n').map(Number),
      Array.from({ length: 20 }, (_, i) => i + 1),
    );
  });

  it('answers the digest and the length of what it was sent, empty too', async () => {
    const sink = `socat -t 9 - TCP:127.0.0.1:${GUEST_SERVICES.sink}`;
    for (const bytes of [0, 100_000]) {
      const expected = createHash('sha256').update(Buffer.alloc(bytes)).digest('hex');
      assert.equal(await agent.run(`head -c ${bytes} /dev/zero | ${sink}`), `${expected} ${bytes}`);
    }
  });

  it('sends the pattern without a break between its blocks', async () => {
    const source = `socat -u TCP:127.0.0.1:${GUEST_SERVICES.source} - 2>/dev/null`;
    const expected = createHash('sha256').update(patternBlock()).update(patternBlock()).digest('hex');
    assert.equal(await agent.run(`${source} | head -c 131072 | sha256sum | cut -d' ' -f1`), expected);
  });

  it('starts a service again that was killed', async () => {
    const killed = 'old=$(pidof iperf3); kill -9 $old';
    const back = 'until new=$(pidof iperf3) && [ "$new" != "$old" ]; do usleep 50000; done';
    assert.equal(await agent.run(`${killed}; ${back}; echo again`), 'again');
  });

  it('powers off when the agent is asked to', async () => {
    assert.ok(qemu);
    const exited = once(qemu, 'exit');
    agent.send('guest-shutdown', { mode: 'powerdown' }); // answers nothing when it works
    assert.deepEqual(await raceSignal(exited, deadline('the power-off', COMMAND_MS)), [0, null]);
  });
});
