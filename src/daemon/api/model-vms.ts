/** VMs as the API shows and takes them. Times are milliseconds since the epoch. */
import { z } from 'zod';
import { Name } from '../config/model.ts';

/** Name of a VM; also that of its directory and, shortened, of its taps. */
export const VmName = z
  .string()
  .regex(/^[a-z][a-z0-9-]{0,30}$/, 'lower-case letters, digits and dashes, at most 31');

/** A file of the host. What it holds, the guest can read: only administrators name files. */
const HostFile = z
  .string()
  .max(1024)
  .regex(/^\/[^\p{Cc}]*$/u, 'an absolute path')
  .refine((path) => !path.split('/').includes('..'), 'a path without ".."');

const Id = z.string().regex(/^[a-z][a-z0-9-]{0,11}$/, 'lower-case letters, digits and dashes, at most 12');

const Mac = z
  .string()
  .regex(/^[0-9a-f][02468ace](:[0-9a-f]{2}){5}$/, 'a MAC address of one host, in lower case');

export const GuestWay = z.strictObject({
  way: z
    .enum(['auto', 'agent', 'ssh'])
    .default('auto')
    .describe('`auto`: its agent where that may run programs, else SSH.'),
  ssh: z
    .strictObject({
      address: z
        .string()
        .max(255)
        .regex(/^[A-Za-z0-9[][A-Za-z0-9.:%_\]-]*$/, 'a host name or address'),
      port: z.int().min(1).max(65_535).default(22),
      user: z
        .string()
        .max(32)
        .regex(/^[A-Za-z_][A-Za-z0-9_.-]*$/, 'a user name')
        .default('root'),
      identityFile: HostFile,
      knownHostsFile: HostFile,
    })
    .optional(),
});

const Nic = z.strictObject({
  id: Id.describe('Its name for Shadowferry.'),
  mac: Mac,
  network: Id.default('lan'),
  device: Name.optional().describe('The direct device of this host behind it.'),
  standby: z
    .enum(['none', 'virtio', 'failover'])
    .default('none')
    .describe('A virtio-net that carries its traffic while the direct device is away.'),
});

const Disk = z.strictObject({
  id: Id,
  path: HostFile,
  format: z.enum(['raw', 'qcow2']),
  storage: z
    .enum(['shared', 'moves'])
    .default('shared')
    .describe(
      '`shared`: under the same path on every host that shall run the VM. `moves`: of this host, and its content goes over with the VM.',
    ),
  bus: z.enum(['virtio-blk', 'virtio-scsi']).default('virtio-blk'),
  at: z.enum(['file', 'device']).default('file').describe('A regular file, or a block device.'),
});

/** What a VM is, as it is asked for. */
export const VmDefinition = z
  .strictObject({
    name: VmName,
    memoryMiB: z
      .int()
      .min(64)
      .max(1024 * 1024),
    cpus: z.int().min(1).max(255).default(1),
    machine: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/, 'a machine of QEMU such as q35')
      .default('q35'),
    cpu: z
      .string()
      .max(1024)
      .regex(
        /^[A-Za-z0-9][A-Za-z0-9._-]*(,[+-]?[A-Za-z0-9._-]+(=[A-Za-z0-9._-]+)?)*$/,
        'a CPU of QEMU such as qemu64,+aes',
      )
      .default('qemu64'),
    boot: z
      .strictObject({
        kernel: HostFile.optional().describe('Without it the firmware boots from the first disk.'),
        initrd: HostFile.optional(),
        append: z
          .string()
          .max(2048)
          .regex(/^[^\p{Cc}]*$/u, 'one line')
          .default(''),
      })
      .prefault({})
      .describe('The kernel that QEMU loads; a VM without one needs a disk to boot from.'),
    firmwareFiles: z
      .array(
        z.strictObject({
          name: z.string().regex(/^opt\/[A-Za-z0-9._/-]{1,51}$/, 'opt/ and a name'),
          path: HostFile,
        }),
      )
      .max(16)
      .default([])
      .describe('Files that the guest reads from its firmware configuration device.'),
    disks: z.array(Disk).max(8).default([]),
    nics: z.array(Nic).max(8).default([]),
    guest: GuestWay.prefault({}).describe('The way into the guest.'),
    replace: z.boolean().default(false).describe('Define anew a VM of this name that does not run here.'),
  })
  .meta({ id: 'VmDefinition' });
export type VmDefinition = z.output<typeof VmDefinition>;

const Ability = z.object({
  what: z.string().describe('What one does with VMs.'),
  can: z.boolean().describe('Whether it can be done with this one.'),
  reason: z.string(),
});

export const Vm = z
  .object({
    name: z.string(),
    host: z.string(),
    state: z
      .enum(['running', 'paused', 'stopped', 'incoming', 'gone'])
      .describe('`incoming`: on its way here. `gone`: it runs on another host.'),
    why: z.string().nullable().describe('What there is to say of the state.'),
    busy: z.string().nullable().describe('What is being done with it now.'),
    pid: z.int().nullable().describe('Of its QEMU.'),
    epoch: z.int().nullable().describe('Of the record of its owner that was seen last.'),
    origin: z.enum(['defined', 'arrived', 'adopted']).nullable().describe('How it came here.'),
    memoryMiB: z.int(),
    cpus: z.int(),
    machine: z.string(),
    nics: z.array(
      z.object({
        id: z.string(),
        mac: z.string(),
        network: z.string(),
        device: z.string().nullable().describe('The direct device behind it.'),
        model: z.string().nullable(),
        standby: z.enum(['none', 'virtio', 'failover']),
      }),
    ),
    definedMs: z.number().nullable().describe('ms since the epoch'),
  })
  .meta({ id: 'Vm' });
export type Vm = z.infer<typeof Vm>;

export const VmDetail = Vm.extend({
  spec: z.record(z.string(), z.unknown()).describe('All that it is made of.'),
  adopted: z
    .object({
      socket: z.string().describe('The monitor by which it was adopted.'),
      whole: z.boolean().describe('Whether it is built as the VMs that are started here.'),
      abilities: z.array(Ability),
    })
    .nullable()
    .describe('Of a VM that ran before it was known: what can be done with it, and what cannot.'),
}).meta({ id: 'VmDetail' });
export type VmDetail = z.infer<typeof VmDetail>;

const Why = z
  .string()
  .min(1)
  .max(500)
  .regex(/^[^\p{Cc}]*$/u, 'one line');

/** An operator's word where the store cannot be asked. */
export const OverrideRequest = z
  .strictObject({ why: Why.describe('How it is known that no other host runs the VM; kept for good.') })
  .optional()
  .describe('For administrators, when the ownership store cannot be asked: run the VM all the same.');

export const StartRequest = z.strictObject({ override: OverrideRequest });

export const StopRequest = z.strictObject({
  force: z.boolean().default(false).describe('End QEMU at once, without asking the guest.'),
  waitSeconds: z.int().min(1).max(50).default(30).describe('For the guest to shut down; QEMU is ended then.'),
});

export const VmChanged = Vm.extend({
  reason: z.string().describe('Why it was done so.'),
}).meta({ id: 'VmChanged' });

export const AdoptRequest = z
  .strictObject({
    socket: HostFile.refine((path) => Buffer.byteLength(path) <= 107, 'at most 107 bytes').describe(
      'The QMP socket of the QEMU that runs; nobody else may be connected to it.',
    ),
    name: VmName.optional().describe("Without it: QEMU's own name of the VM."),
    devices: z
      .record(Id, Name)
      .default({})
      .describe('Which device of this host stands behind a NIC, by the id of the NIC.'),
    networks: z
      .record(Id, Id)
      .default({})
      .describe('The network of a NIC, by its id; `lan` where it is not said.'),
    firmwareFiles: VmDefinition.shape.firmwareFiles,
    guest: GuestWay.prefault({}),
  })
  .meta({ id: 'AdoptRequest' });
export type AdoptRequest = z.output<typeof AdoptRequest>;

export const TakeOverRequest = z.strictObject({
  why: Why.describe('How it is known that the host that owns the VM is dead; kept for good.'),
});

export const Owned = z
  .object({ vm: z.string(), owner: z.string(), epoch: z.int() })
  .meta({ id: 'Ownership', description: 'Who may run a VM.' });

export const ConsolePiece = z
  .object({
    vm: z.string(),
    text: z.string().describe('What the guest wrote; it may hold control characters.'),
    from: z.int().describe('Where in the console the text begins, bytes.'),
    next: z.int().describe('`from` of the next piece.'),
    size: z.int().describe('Bytes that there are now.'),
    live: z.boolean().describe('Whether more may come.'),
  })
  .meta({ id: 'ConsolePiece' });
export type ConsolePiece = z.infer<typeof ConsolePiece>;

export const KeptOverride = z
  .object({
    seq: z.int(),
    atMs: z.number().describe('ms since the epoch'),
    vm: z.string(),
    host: z.string(),
    by: z.string(),
    why: z.string(),
    against: z.string().describe('What stood against it.'),
  })
  .meta({ id: 'Override', description: 'What an administrator took upon himself.' });

export const Forgotten = z
  .object({
    vm: z.string(),
    record: z.enum(['forgotten', 'kept']).describe('What became of the record of its owner.'),
    why: z.string(),
  })
  .meta({ id: 'Forgotten' });
