/**
 * A program that stands where QEMU does, for tests of what starts, finds and ends VMs: a process of its own with the
 * sockets of the real command line, a monitor that answers, a silent agent, and no guest. A file `obey` beside its
 * sockets says what else it does: `acpi` and `agent` power off when asked to in that way, `deaf` says nothing on its
 * monitor.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { FakeAgent } from '../../hypervisor/agent/fake-peer.ts';
import { FakeQmpPeer } from '../../hypervisor/qmp/fake-peer.ts';

/** Words before the program of a host whose VMs are these. */
export const FAKE_QEMU: readonly string[] = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  import.meta.filename,
];

/** Paths of the sockets that a command line names, by the id of the chardev. */
function socketsOf(argv: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const word of argv) {
    const match = /^socket,id=([^,]+),path=([^,]+),server=on/.exec(word);
    if (match?.[1] !== undefined && match[2] !== undefined) found.set(match[1], match[2]);
  }
  return found;
}

async function main(argv: readonly string[]): Promise<void> {
  const sockets = socketsOf(argv);
  const monitor = sockets.get('mon0') ?? '';
  const obey = () => {
    const file = join(dirname(monitor), '..', 'obey');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  };
  const agent = obey().includes('agent') ? sockets.get('agent0') : undefined;
  for (const [id, path] of sockets)
    if (id !== 'mon0' && path !== agent) createServer((socket) => socket.resume()).listen(path);
  let status = argv.includes('-incoming') ? 'inmigrate' : 'prelaunch';
  const peer = await FakeQmpPeer.start({
    path: monitor,
    ...(obey().includes('deaf') ? { greetWhen: new Promise(() => {}) } : {}),
  });
  const end = () => {
    peer.hangUp();
    setTimeout(() => process.exit(0), 5);
  };
  const powerOff = () => {
    peer.event('SHUTDOWN', { guest: true, reason: 'guest-shutdown' });
    end();
  };
  if (agent !== undefined) (await FakeAgent.start({ path: agent })).handle('guest-shutdown', powerOff);
  const become = (next: string, event: string) => {
    status = next;
    peer.event(event);
  };
  peer
    .handle('query-status', (_, io) => io.reply({ status, running: status === 'running' }))
    .handle('cont', (_, io) => {
      become('running', 'RESUME');
      io.reply();
    })
    .handle('stop', (_, io) => {
      become('paused', 'STOP');
      io.reply();
    })
    .handle('quit', (_, io) => {
      io.reply();
      end();
    })
    .handle('system_powerdown', (_, io) => {
      io.reply();
      peer.event('POWERDOWN');
      if (obey().includes('acpi')) powerOff();
    })
    .answer('query-machines', [{ name: 'pc-q35-7.2', alias: 'q35' }])
    .answer('set_link', {})
    .answer('qom-list', []);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  await main(process.argv.slice(2));
