/** The configuration of a daemon. Descriptions go to docs/config.md; every key is known, and nothing else is. */
import { isIP } from 'node:net';
import { z } from 'zod';
import { PCI_ADDRESS } from '../../host/pci-nic.ts';
import { StrategyTuning } from '../../memory/strategy/options.ts';
import { EtcdConfig } from '../../ownership/etcd/config.ts';

const absolute = z
  .string()
  .max(4096)
  .regex(/^\/[^\0]*$/, 'an absolute path')
  .refine((path) => !path.split('/').includes('..'), 'a path without ".."');

/** A Unix socket's address has room for 108 bytes, and ours is made under a longer name first. */
const socketPath = absolute.refine((path) => Buffer.byteLength(path) <= 90, 'at most 90 bytes');

/**
 * Below it are the sockets of VMs, as `vms/NAME/channel7.sock`, and a Unix socket's path has at most 107 bytes. A name
 * has at most 31.
 */
const stateDirectory = absolute.refine(
  (path) => Buffer.byteLength(path) <= 57,
  'at most 57 bytes, as the sockets of VMs are below it',
);

/** Name of a host, a device or a network. */
export const Name = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'lower-case letters, digits and dashes, at most 63');

function splitAddress(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const [, six, other = '', digits] = match;
  const port = Number(digits);
  if (port < 1 || port > 65_535) return undefined;
  if (six !== undefined) return isIP(six) === 6 ? { host: six, port } : undefined;
  const name = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(other);
  return name || isIP(other) === 4 ? { host: other, port } : undefined;
}

/** `host:port`, `192.0.2.1:7443`, `[2001:db8::1]:7443`; to be taken apart. */
const address = z
  .string()
  .max(300)
  .refine(
    (text) => splitAddress(text) !== undefined,
    'HOST:PORT, such as 192.0.2.1:7443 or [2001:db8::1]:7443',
  )
  .transform((text) => splitAddress(text) ?? { host: '', port: 0 });

const mode = z
  .string()
  .regex(/^0?[0-7]{3}$/, 'permissions in octal, in quotes: "0660"')
  .transform((text) => Number.parseInt(text, 8))
  .refine((bits) => (bits & 0o007) === 0, 'nothing for others (the last digit is 0)');

const Socket = z.strictObject({
  path: socketPath
    .default('/run/shadowferry/daemon.sock')
    .describe('Path of the Unix socket; who may connect is an administrator.'),
  mode: mode.default(0o660).describe('Permissions of the socket, in octal and in quotes.'),
  group: z
    .string()
    .regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'the name of a group')
    .optional()
    .describe(
      'Group that owns the socket; its members are administrators. Without it: the group of the daemon.',
    ),
});

const Listen = z.strictObject({
  address: address.describe('Address and port for TLS 1.3.'),
  certificate: absolute.describe('Certificate of this host (PEM), followed by those between it and the CA.'),
  key: absolute.describe('Its private key (PEM, mode 0600).'),
  clientCa: absolute.describe('Certificates of the CAs whose client certificates are taken (PEM).'),
  revoked: absolute
    .optional()
    .describe(
      'List of revoked certificates that "shadowferry pki revoke" keeps; read again when it changes.',
    ),
  authentication: z
    .enum(['certificate', 'certificate-or-token'])
    .default('certificate')
    .describe(
      '`certificate`: without a certificate of the CA no connection comes about. `certificate-or-token`: a token does as well.',
    ),
});

const Ownership = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('sqlite').describe('Ownership in a file: for one host alone.'),
    path: absolute.optional().describe('The file; `ownership.db` in the state directory when left out.'),
  }),
  EtcdConfig.safeExtend({
    kind: z.literal('etcd').describe('Ownership in etcd: for several hosts; see [ownership](ownership.md).'),
  }),
]);

const Device = z.union([
  z.strictObject({
    id: Name.describe('Name of the device on this host.'),
    network: Name.describe('Network that it is connected to; one of `networks`.'),
    address: z
      .string()
      .regex(PCI_ADDRESS, 'a PCI address such as 0000:03:00.0')
      .describe('PCI address of a real device.'),
  }),
  z.strictObject({
    id: Name.describe('Name of the device on this host.'),
    network: Name.describe('Network that it is connected to; one of `networks`.'),
    model: z
      .string()
      .regex(
        /^[a-z0-9][a-z0-9-]{0,31}(,[a-z0-9_-]{1,32}=[a-z0-9_.-]{1,32}){0,8}$/,
        'a device of QEMU such as e1000e, or with options: virtio-net-pci,queues=4',
      )
      .describe('QEMU model of an emulated device, with options if any.'),
  }),
]);

const count = (most: number) => z.number().int().min(1).max(most);

const Limits = z.strictObject({
  requestsPerSecond: count(1_000_000)
    .default(200)
    .describe('Requests of one principal in a second; more are answered with 429.'),
  connections: count(100_000).default(512).describe('Connections at once, over all listeners.'),
  streams: count(10_000).default(16).describe('Streams of events that one principal may have open.'),
  streamBytes: count(1024 ** 3)
    .default(262_144)
    .describe('Bytes that may wait for a slow reader of events before it is dropped.'),
  events: count(10_000_000).default(10_000).describe('Events that are kept, for readers that come back.'),
});

const Keep = z.strictObject({
  days: count(36_500)
    .default(90)
    .describe(
      'Migrations that began longer ago are forgotten, with their steps, and `explain` knows them no more.',
    ),
  entries: count(10_000_000)
    .default(10_000)
    .describe(
      'The newest so many are kept (one takes some 100 KB). What is under way, what is younger than two days, and the last move of each VM are kept in any case.',
    ),
});

const Queue = z.strictObject({
  outgoing: count(64).default(4).describe('Migrations that leave this host at once.'),
  link: count(64).default(2).describe('Migrations from this host to one other at once.'),
  incoming: count(64)
    .default(4)
    .describe('Migrations that come to this host at once; further ones wait at their sources.'),
  waiting: count(100_000).default(1000).describe('Migrations that may wait here; more are refused with 503.'),
  waitingPerPrincipal: count(100_000)
    .default(250)
    .describe('Of these, those that one principal asked for; more are refused with 429.'),
});

const Peer = z.strictObject({
  name: Name.describe('Name of the other host, as its certificate says it.'),
  address: address.describe('Where its daemon listens.'),
});

const names = (list: readonly { name?: string; id?: string }[]) => list.map((each) => each.name ?? each.id);

/** The first that stands in a list twice, by its place. */
function repeated(list: readonly (string | undefined)[]): number {
  return list.findIndex((each, n) => list.indexOf(each) !== n);
}

export const DaemonConfig = z
  .strictObject({
    host: Name.describe('Name of this host; the owner of the VMs that run here.'),
    state: stateDirectory
      .default('/var/lib/shadowferry')
      .describe('Directory of the journal, the shadows, the events and the VMs; at most 57 bytes.'),
    socket: Socket.prefault({}),
    listen: Listen.optional().describe('TCP, with TLS 1.3 only. Without it there is only the Unix socket.'),
    tokens: absolute
      .optional()
      .describe('File of the tokens; `tokens.json` in the state directory when left out.'),
    ownership: Ownership.prefault({ kind: 'sqlite' }),
    networks: z
      .record(
        Name,
        z.strictObject({
          bridge: z
            .string()
            .regex(/^[^\s/]{1,15}$/, 'the name of a bridge')
            .describe('Bridge of this host that carries the network.'),
        }),
      )
      .default({})
      .describe('Networks by name.'),
    devices: z.array(Device).max(1024).default([]).describe('Devices that this host can give to guests.'),
    qemu: z
      .strictObject({
        binary: z
          .string()
          .min(1)
          .max(4096)
          .default('qemu-system-x86_64')
          .describe('QEMU: a path, or a name that is looked for.'),
        accelerator: z
          .enum(['auto', 'kvm', 'tcg'])
          .default('auto')
          .describe('`auto` takes KVM where it works.'),
      })
      .prefault({}),
    migration: z
      .strictObject({
        address: z
          .string()
          .refine((text) => isIP(text) !== 0, 'an IP address')
          .optional()
          .describe(
            'IP address on which QEMU takes the memory of VMs that come. Without it: the address of `listen`, else 127.0.0.1.',
          ),
        patience: count(86_400)
          .default(60)
          .describe(
            'Seconds that a VM on its way here waits for a source that is silent, before it is given up where that is safe.',
          ),
        strategy: StrategyTuning.default({}).describe(
          'Thresholds of the strategy where a migration does not say its own; see [memory](memory.md).',
        ),
      })
      .prefault({}),
    storage: z
      .strictObject({
        directories: z
          .array(absolute)
          .max(64)
          .default([])
          .describe(
            'Directories, and block devices, where the disks of VMs that come may be put. Without one no VM comes whose disks move.',
          ),
      })
      .prefault({}),
    limits: Limits.prefault({}),
    journal: z
      .strictObject({ keep: Keep.prefault({}) })
      .prefault({})
      .describe('What is remembered of migrations that have ended.'),
    queue: Queue.prefault({}).describe('How many migrations are under way, and how many may wait.'),
    peers: z.array(Peer).max(1024).default([]).describe('Other hosts that run a daemon.'),
    log: z
      .strictObject({
        level: z
          .enum(['debug', 'info', 'warn', 'error'])
          .default('info')
          .describe('What is logged, as JSON lines on standard output.'),
      })
      .prefault({}),
  })
  .superRefine((config, context) => {
    const refuse = (path: (string | number)[], message: string) =>
      context.addIssue({ code: 'custom', path, message });
    const twice = repeated(names(config.devices));
    if (twice >= 0) refuse(['devices', twice, 'id'], 'another device has this id');
    const peer = repeated(names(config.peers));
    if (peer >= 0) refuse(['peers', peer, 'name'], 'another peer has this name');
    config.peers.forEach(({ name }, n) => {
      if (name === config.host) refuse(['peers', n, 'name'], 'this is the host itself');
    });
    const networks = Object.keys(config.networks);
    config.devices.forEach(({ network }, n) => {
      if (networks.includes(network)) return;
      refuse(['devices', n, 'network'], `no network of this name; there is ${networks.join(', ') || 'none'}`);
    });
    const seen = config.devices.map((device) => ('address' in device ? device.address : undefined));
    seen.forEach((bdf, n) => {
      if (bdf !== undefined && seen.indexOf(bdf) !== n)
        refuse(['devices', n, 'address'], 'another device has this address');
    });
  });
export type DaemonConfig = z.infer<typeof DaemonConfig>;
export type DeviceConfig = DaemonConfig['devices'][number];
