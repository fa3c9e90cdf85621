/**
 * The one catalogue of errors. A code names what happened; its exit code and HTTP status derive from its kind;
 * `fix` says what the reader can do. `docs/errors.md` is generated from this table and a test keeps them equal.
 */

/** What sort of failure a code is; decides the process exit code and the HTTP status. */
export type ErrorKind =
  | 'input'
  | 'refused'
  | 'missing'
  | 'failed'
  | 'timeout'
  | 'cancelled'
  | 'degraded'
  | 'internal';

/** Exit code of the CLI and HTTP status of the API for each kind. */
export const KINDS: Record<ErrorKind, { exit: number; status: number }> = {
  input: { exit: 2, status: 400 },
  refused: { exit: 3, status: 409 },
  missing: { exit: 4, status: 424 },
  failed: { exit: 5, status: 502 },
  timeout: { exit: 6, status: 504 },
  cancelled: { exit: 7, status: 409 },
  degraded: { exit: 8, status: 409 },
  internal: { exit: 70, status: 500 },
};

interface Entry {
  kind: ErrorKind;
  /** What happened; `{name}` is filled from the error's parameters. */
  what: string;
  /** What to do about it. */
  fix: string;
  /** HTTP status, where it is another than that of the kind. */
  status?: number;
}

export const CATALOGUE = {
  // input
  INPUT_FIELD: {
    kind: 'input',
    what: '{field}: {problem}',
    fix: 'Correct the named field and run the command again; nothing was changed.',
  },
  UNKNOWN_MODEL: {
    kind: 'input',
    what: '{field}: "{value}" is not a network device that this QEMU offers',
    fix: 'Use one of: {allowed}.',
  },
  UNKNOWN_HOST: {
    kind: 'input',
    what: '{field}: there is no host "{value}"',
    fix: 'Use one of: {allowed}.',
    status: 404,
  },
  UNKNOWN_VM: {
    kind: 'input',
    what: '{field}: there is no VM "{value}"',
    fix: 'Use one of: {allowed}.',
    status: 404,
  },
  UNKNOWN_DEVICE: {
    kind: 'input',
    what: '{field}: there is no device "{value}" on {where}',
    fix: 'Use one of: {allowed}.',
    status: 404,
  },
  UNKNOWN_MIGRATION: {
    kind: 'input',
    what: '{field}: the journal has no migration "{value}"',
    fix: 'List them with "shadowferry migrations".',
    status: 404,
  },
  NO_TRACE: {
    kind: 'input',
    what: 'nothing was kept of the copy of migration {id}: it came to none, or is not over',
    fix: 'Look with "shadowferry explain {id}" how far it came.',
    status: 404,
  },
  UNKNOWN_MODE: {
    kind: 'input',
    what: '{field}: "{value}" is not a known mode',
    fix: 'Use one of: {allowed}.',
  },
  DEVICE_CLAIMED_TWICE: {
    kind: 'input',
    what: '{field}: device "{value}" is claimed twice',
    fix: 'Give every source device one destination device of its own.',
  },
  UNKNOWN_VERSION: {
    kind: 'input',
    what: '{field}: there is no version "{value}" of the shadow of {what}',
    fix: 'Use one of: {allowed}. Old versions go after a while; see docs/shadow-commands.md.',
    status: 404,
  },
  PLAN_INVALID: {
    kind: 'input',
    what: 'plan: {file} is not a migration plan: {problem}',
    fix: 'Write a plan with "migrate --dry-run --plan-out FILE" and pass that file.',
  },
  SAME_HOST: {
    kind: 'input',
    what: '{field}: VM "{vm}" already runs on host "{value}"',
    fix: 'Choose another destination, or use "swap" to change a device on the same host.',
  },

  // input: the daemon
  CONFIG_INVALID: {
    kind: 'input',
    what: '{file} is not a usable configuration: {problems}',
    fix: 'Correct it and try it with "shadowferry daemon --config {file} --check"; docs/config.md names every key.',
  },
  ROUTE_UNKNOWN: {
    kind: 'input',
    what: 'there is no {method} {path} in this API',
    fix: 'GET /openapi.json lists what there is.',
    status: 404,
  },
  METHOD_UNKNOWN: {
    kind: 'input',
    what: '{path} has no method {method}',
    fix: 'It has: {allowed}.',
    status: 405,
  },
  BODY_TOO_LARGE: {
    kind: 'input',
    what: 'the body of the request is larger than {limit} bytes',
    fix: 'Send less; nothing was changed.',
    status: 413,
  },
  MEDIA_TYPE: {
    kind: 'input',
    what: 'a body of type "{type}" is not understood',
    fix: 'Send JSON, with "content-type: application/json".',
    status: 415,
  },
  REQUEST_MALFORMED: {
    kind: 'input',
    what: 'the request cannot be read: {problem}',
    fix: 'Send HTTP/1.1 with a body of JSON where there is one.',
  },
  REQUEST_SLOW: {
    kind: 'input',
    what: 'the request was not complete in time',
    fix: 'Send it at once, over a connection of its own.',
    status: 408,
  },
  IDEMPOTENCY_REUSED: {
    kind: 'input',
    what: 'the idempotency key "{key}" was used for another request',
    fix: 'Take a new key for a new request; the old one is kept for {hours} hours.',
    status: 422,
  },
  PKI_INVALID: {
    kind: 'input',
    what: '{file} is not a usable {what}: {why}',
    fix: 'Put the file right from a backup, or make a new one with "shadowferry pki"; docs/operations.md says how.',
  },
  TOKENS_INVALID: {
    kind: 'input',
    what: '{file} is not a usable list of tokens: {why}',
    fix: 'Put the file right from a backup, or remove it and make new tokens with "shadowferry token create".',
  },
  TOKEN_UNKNOWN: {
    kind: 'input',
    what: 'there is no token "{token}" in {file}',
    fix: 'List them with "shadowferry token list".',
  },

  // missing on this machine or in the guest
  LAB_MISSING: {
    kind: 'missing',
    what: 'there is no lab in {directory}',
    fix: 'Start one with "shadowferry lab up".',
  },
  NO_SHADOW: {
    kind: 'missing',
    what: 'no shadow of NIC "{nic}" of VM "{vm}" is known, and it cannot be captured now: {why}',
    fix: 'Correct the cause, and run "shadowferry shadow watch {vm}" while the device is there: its shadow is known from then on.',
  },
  PROGRAM_LOST: {
    kind: 'missing',
    what: 'the replay program is not in the guest of VM "{vm}" any more: {why}',
    fix: 'If the guest was restarted, the state that the device had is gone with it; shut the VM down and start it again, and it starts with its device.',
  },
  DEVICE_ABSENT: {
    kind: 'missing',
    what: '{nic} of "{vm}" has no direct device: {why}',
    fix: 'Use "shadowferry rescue {vm} {nic} --with DEVICE" for a device that died, "shadowferry attach {vm}" after a degraded migration.',
  },
  SHADOW_UNKNOWN: {
    kind: 'missing',
    what: 'the state that {nic} of "{vm}" had is not known: it was never looked at, and no shadow interface stands above it',
    fix: 'Watch the VM ("shadowferry shadow watch", "shadowferry rescue --watch") so that its last state is known when a device dies; this time configure the interface by hand.',
  },
  TOOL_MISSING: { kind: 'missing', what: '{tool} is missing on this machine', fix: '{install}' },
  RIGHTS_MISSING: {
    kind: 'missing',
    what: '{what} needs rights that this user does not have',
    fix: '{command}',
  },
  MACHINE_LACKS: {
    kind: 'missing',
    what: 'this machine lacks what the demo needs: {what}',
    fix: '{fix}',
  },
  LINK_SHAPE_UNAVAILABLE: {
    kind: 'missing',
    what: 'link "{link}" cannot be given this rate or delay on this machine: {why}',
    fix: 'Load the kernel module that is named, or run the lab without this rate or delay.',
  },
  GUEST_ACCESS: {
    kind: 'missing',
    what: 'there is no way into the guest of VM "{vm}": {why}',
    fix: 'Allow guest-exec and guest-exec-status in the configuration of the guest\'s agent (allow-rpcs or block-rpcs; on RHEL /etc/sysconfig/qemu-ga), or give the VM an SSH access: "guest" in its spec.',
  },
  GUEST_LACKS: { kind: 'missing', what: 'the guest lacks {what}', fix: '{how}' },
  NETWORK_MISSING: {
    kind: 'missing',
    what: 'network "{network}" is not there on host "{host}": {why}',
    fix: 'Make the bridge on that host, or name it under "networks" in the configuration of its daemon.',
  },
  CAPABILITY_MISSING: {
    kind: 'missing',
    what: 'QEMU {version} does not offer {capability}',
    fix: 'Use a QEMU that does, or choose another strategy.',
  },

  STORE_UNFIT: {
    kind: 'missing',
    what: 'the ownership store at {endpoint} cannot be used: {why}',
    fix: 'Use members of one etcd cluster of version 3.4 or newer with its JSON gateway; see docs/ownership.md.',
  },

  // refused
  CONTINUITY_UNAVAILABLE: {
    kind: 'refused',
    what: 'continuity "{mode}" is not possible: {why}',
    fix: 'Choose another continuity, or leave the choice to Shadowferry with "--continuity auto".',
  },
  DEVICE_IN_USE: {
    kind: 'refused',
    what: 'device {device} of host "{host}" is held by VM "{vm}"',
    fix: 'Use another device of the same model, as what is learned holds for all of them, or wait until the VM has left; nothing was changed.',
  },
  LOSS_REFUSED: {
    kind: 'refused',
    what: 'VM "{vm}" would lose something on a {model}: {losses}',
    fix: 'Choose another device, change what is named, or allow it with "--on-loss adapt"; nothing was changed.',
  },
  NOT_OWNER: {
    kind: 'refused',
    what: 'host "{host}" does not own VM "{vm}" (owner "{owner}", epoch {epoch})',
    fix: 'Ask the owner; a VM is run by one host only.',
  },
  HANDOVER_WITHDRAWN: {
    kind: 'refused',
    what: 'the hand-over {attempt} of VM "{vm}" to host "{host}" was withdrawn',
    fix: 'The VM belongs to the host that it belonged to; migrate it again.',
  },
  START_REFUSED: {
    kind: 'refused',
    what: 'VM "{vm}" may not be started on host "{host}": {why}',
    fix: 'Start it on its owner. How to take a VM over from a host that is dead for certain stands in docs/ownership.md.',
  },
  VM_BUSY: {
    kind: 'refused',
    what: 'VM "{vm}" is busy on host "{host}": {what}',
    fix: 'Wait until that has ended, or cancel it; nothing was changed.',
  },
  VM_EXISTS: {
    kind: 'refused',
    what: 'there is a VM "{vm}" on host "{host}" already ({state})',
    fix: 'Take another name, or forget that one first ("shadowferry vm forget {vm}").',
  },
  VM_STATE: {
    kind: 'refused',
    what: 'VM "{vm}" on host "{host}" is {state}: {why}',
    fix: 'See "shadowferry vm show {vm}" for what can be done with it now.',
  },
  VM_LIMITED: {
    kind: 'refused',
    what: 'VM "{vm}" was adopted, and cannot be {what}: {why}',
    fix: 'See "shadowferry vm show {vm}" for what it can and cannot do; a VM that is defined and started here can do everything.',
  },
  ADOPT_REFUSED: {
    kind: 'refused',
    what: 'the QEMU at {socket} is not adopted: {why}',
    fix: 'Correct what is named; the VM runs on, and nothing was changed.',
  },
  STORE_LOGIN_REFUSED: {
    kind: 'refused',
    what: 'the ownership store at {endpoint} does not let us in: {why}',
    fix: 'Check user, password file and certificates of the ownership store in the configuration, and those of etcd.',
  },
  STORE_FORBIDDEN: {
    kind: 'refused',
    what: 'user "{user}" of the ownership store has no right to keys under "{prefix}": {why}',
    fix: 'Grant it, as etcd\'s root: "etcdctl role grant-permission ROLE --prefix=true readwrite {prefix}/".',
  },
  MIGRATION_BUSY: {
    kind: 'refused',
    what: 'VM "{vm}" already has a migration under way ({id})',
    fix: 'Wait for it, or cancel it.',
  },
  DESTINATION_BUSY: {
    kind: 'refused',
    what: 'host "{host}" takes no further VM now: {why}',
    fix: 'A migration that was asked for at a daemon waits and is tried again by itself; else try again later.',
    status: 503,
  },
  QUEUE_FULL: {
    kind: 'refused',
    what: 'the queue of host "{host}" is full: {max} wait',
    fix: 'Ask again when some have ended ("shadowferry migrations --watch"); queue.waiting of the configuration sets how many may wait.',
    status: 503,
  },
  QUEUE_SHARE: {
    kind: 'refused',
    what: '{max} migrations that "{principal}" asked for wait on host "{host}" already',
    fix: 'Ask again when some have ended; queue.waitingPerPrincipal of the configuration sets how many may wait.',
    status: 429,
  },
  CANCEL_LATE: {
    kind: 'refused',
    what: 'migration {id} cannot be cancelled: {why}',
    fix: 'Let it end; "shadowferry explain {id}" tells what happened.',
  },
  NOT_HELD: {
    kind: 'refused',
    what: 'migration {id} does not wait for a confirmation: {why}',
    fix: 'Look at it with "shadowferry explain {id}"; only one that was asked for with "hold" waits, before the hand-over.',
  },
  WATCHED_ALREADY: {
    kind: 'refused',
    what: 'VM "{vm}" is watched already, by process {pid}',
    fix: 'Let that one go on, or end it first: one watch is enough for all NICs of a VM.',
  },
  QMP_REFUSED: {
    kind: 'refused',
    what: 'QEMU refused {command}: {description}',
    fix: 'The description is QEMU\'s own; run "shadowferry doctor" if it does not say enough.',
  },
  AGENT_REFUSED: {
    kind: 'refused',
    what: 'the guest agent refused {command}: {description}',
    fix: "If the command is disabled, enable it in the guest agent's configuration; else correct what the text names.",
  },
  GUEST_REFUSED_UNPLUG: {
    kind: 'refused',
    what: 'the guest refused to release device {device}',
    fix: 'Find what uses the device in the guest, release it and try again; the VM still has the device.',
  },
  RESCUE_NEEDLESS: {
    kind: 'refused',
    what: 'device {device} behind {nic} of "{vm}" is alive: it has its driver and a link',
    fix: 'To put another device in its place use "shadowferry swap {vm} {nic} --with DEVICE".',
  },
  LAB_EXISTS: {
    kind: 'refused',
    what: 'a lab is up already, in {directory}',
    fix: 'Use it, or remove it with "shadowferry lab down".',
  },
  LAB_NETWORK_EXISTS: {
    kind: 'refused',
    what: 'lab network "{id}" exists already',
    fix: 'Use another id, or remove the lab that uses it.',
  },

  // refused: the daemon
  UNAUTHENTICATED: {
    kind: 'refused',
    what: 'it is not known who asks: {why}',
    fix: 'Use the Unix socket, a client certificate ("shadowferry pki issue") or a token ("shadowferry token create").',
    status: 401,
  },
  FORBIDDEN: {
    kind: 'refused',
    what: '"{principal}" has role {role}, and this needs role {needed}',
    fix: 'Ask with a certificate or token of that role.',
    status: 403,
  },
  RATE_LIMITED: {
    kind: 'refused',
    what: '"{principal}" asks more often than {max} times in {seconds} s',
    fix: 'Wait for the time that the header "retry-after" says; limits.requestsPerSecond of the configuration sets it.',
    status: 429,
  },
  HAND_OVER_FIRST: {
    kind: 'refused',
    what: 'a VM is being handed over, and its traffic waits for this daemon: other requests come after it',
    fix: 'Ask again in {seconds} s; who asks less often is answered meanwhile.',
    status: 503,
  },
  STREAMS_LIMITED: {
    kind: 'refused',
    what: '"{principal}" has {max} streams of events open already',
    fix: 'Close one first; limits.streams of the configuration sets how many there may be.',
    status: 429,
  },
  IDEMPOTENCY_BUSY: {
    kind: 'refused',
    what: 'the first request with idempotency key "{key}" {state}',
    fix: 'Look at what it was about, and send it again with the same key later, or with a new key if it was not done.',
  },
  DAEMON_STOPPING: {
    kind: 'refused',
    what: 'the daemon is stopping and takes no new work',
    fix: 'Ask again when it is back.',
    status: 503,
  },
  DAEMON_RUNS: {
    kind: 'refused',
    what: 'another daemon uses {directory} (process {pid})',
    fix: 'Stop that one first, or give this one a state directory of its own.',
  },
  SOCKET_UNSAFE: {
    kind: 'refused',
    what: 'the socket {path} is not used: {why}',
    fix: 'Correct that, or choose another path ("socket.path" of the configuration).',
  },
  FILE_UNSAFE: {
    kind: 'refused',
    what: '{file} is not used: {why}',
    fix: 'Give it to the user of the daemon, and let nobody else write it (chmod 0600).',
  },
  FILE_EXISTS: {
    kind: 'refused',
    what: '{file} exists already, and is never overwritten',
    fix: 'Choose another name or directory, or move the old file away.',
  },

  // failed
  QMP_CLOSED: {
    kind: 'failed',
    what: 'the monitor connection to {peer} closed: {why}',
    fix: 'See whether that QEMU process still runs; its log is named in the journal.',
  },
  AGENT_CLOSED: {
    kind: 'failed',
    what: 'the guest agent connection to {peer} closed: {why}',
    fix: 'See whether that QEMU process still runs; its log is named in the journal.',
  },
  ANSWER_UNEXPECTED: {
    kind: 'failed',
    what: '{peer} answered {command} with something unexpected: {problem}',
    fix: 'Check that this version of QEMU or of its guest agent is supported ("shadowferry doctor"), and report it.',
  },
  QEMU_START_FAILED: {
    kind: 'failed',
    what: 'QEMU did not start on {host}: {why}',
    fix: "The text is QEMU's own; correct what it names.",
  },
  QEMU_DIED: { kind: 'failed', what: 'QEMU of VM "{vm}" on {host} ended: {why}', fix: 'Its log is {log}.' },
  GUEST_COMMAND_FAILED: {
    kind: 'failed',
    what: 'the guest could not run {command} (exit {code}): {stderr}',
    fix: 'Run the command in the guest by hand to see why.',
  },
  MIGRATION_FAILED: {
    kind: 'failed',
    what: 'the memory migration failed: {why}',
    fix: 'The VM runs on the source with its device; look at the reason and try again.',
  },
  SSH_FAILED: {
    kind: 'failed',
    what: 'SSH to {target} failed: {why}',
    fix: "The text is ssh's own. Check address, key and known hosts of the VM's SSH access; keys only, nothing is asked.",
  },
  DRIVER_REFUSED: {
    kind: 'failed',
    what: 'device {device} and driver {driver} of this machine: {why}',
    fix: 'See the kernel log ("dmesg"); "lspci -k" shows which driver the device has.',
  },
  COMMAND_FAILED: {
    kind: 'failed',
    what: '{command} failed (exit {code}): {stderr}',
    fix: 'Run the command by hand to see why.',
  },
  CHANNEL_FAILED: {
    kind: 'failed',
    what: 'the replay program in the guest failed: {why}',
    fix: 'Its log is /run/shadowferry in the guest.',
  },
  WATCHER_LOST: {
    kind: 'failed',
    what: 'the watcher in the guest is not heard any more: {why}',
    fix: 'The watch looks for it by itself, and starts it again where it is gone.',
  },
  LISTEN_FAILED: {
    kind: 'failed',
    what: 'the daemon cannot listen on {where}: {why}',
    fix: 'See what else uses it ("ss -ltnxp"), or choose another in the configuration.',
  },
  DAEMON_UNREACHABLE: {
    kind: 'failed',
    what: 'no daemon answers at {target}: {why}',
    fix: 'See whether it runs ("systemctl status shadowferry") and whether this user may use its socket.',
  },
  DAEMON_ANSWER: {
    kind: 'failed',
    what: 'the daemon at {target} answered {request} with {status}: {problem}',
    fix: 'If the daemon is of another version than this program, use the same on both sides; its log has the request.',
  },
  STORE_UNREACHABLE: {
    kind: 'failed',
    what: 'the ownership store cannot be reached: {why}',
    fix: 'VMs run on, and none was handed over. Check the store ("etcdctl endpoint health", or the disk of a local file) and the way to it, and try again.',
  },
  PEER_UNREACHABLE: {
    kind: 'failed',
    what: 'the daemon of host "{host}" ({address}) does not answer: {why}',
    fix: 'VMs run on. Look whether the daemon runs there ("systemctl status shadowferry"), at the way to it, and at the certificates of both; what is open is taken to its end when it answers again.',
  },
  INTERRUPTED: {
    kind: 'failed',
    what: 'the program that drove this ended in phase {phase}',
    fix: 'It was taken to its end by what the journal says; "shadowferry explain" tells how. Try again if the VM is not where it should be.',
  },
  JOURNAL_UNWRITABLE: {
    kind: 'failed',
    what: 'the journal cannot be written: {why}',
    fix: 'Make room where the state is kept, or look at that disk. What was under way before the hand-over was taken back; what was handed over went on.',
    status: 507,
  },
  HANDOVER_UNKNOWN: {
    kind: 'failed',
    what: 'whether VM "{vm}" was handed over to host "{host}" is not known (attempt {attempt}): {why}',
    fix: 'Start the VM on neither host by hand: what migrates it must resolve the attempt first, as soon as the ownership store answers.',
  },
  STORE_DAMAGED: {
    kind: 'failed',
    what: 'the record of {key} in the ownership store is not what it should be: {problem}',
    fix: 'Nothing is guessed and nothing was changed. Look at the record (docs/ownership.md says how); it may come from an old backup or a newer Shadowferry.',
  },
  PROBE_FAILED: {
    kind: 'failed',
    what: 'the {probe} probe failed: {why}',
    fix: 'Check that the guest answers on its service ports (7, 9, 19) from outside.',
  },

  // disks that move
  UNKNOWN_DISK: {
    kind: 'input',
    what: '{field}: VM "{vm}" has no disk "{value}" that moves',
    fix: 'Use one of: {allowed}. A disk moves where its "storage" is "moves".',
  },
  DISK_TARGET_TWICE: {
    kind: 'input',
    what: '{field}: {path} is for disk {other} already',
    fix: 'Give each disk a path of its own.',
  },
  DISK_TARGET_REFUSED: {
    kind: 'refused',
    what: 'host "{host}" does not take disk {disk} at {path}: {why}',
    fix: 'Name another path with --disk {disk}=PATH; "storage.directories" of that host\'s configuration says where it keeps disks.',
  },
  DISK_TARGET_EXISTS: {
    kind: 'refused',
    what: 'disk {disk} cannot go to {path} on host "{host}": a file is there, which this disk did not leave there',
    fix: 'Name another path with --disk {disk}=PATH, or move that file away.',
  },
  DISK_IN_USE: {
    kind: 'refused',
    what: 'disk {disk} cannot go to {path} on host "{host}": it is in use ({why})',
    fix: 'Name another path with --disk {disk}=PATH, or stop what uses it.',
  },
  DISK_READ_ONLY: {
    kind: 'refused',
    what: 'disk {disk} cannot go to {path} on host "{host}", where nothing can be written: {why}',
    fix: 'Make it writable, or name another path with --disk {disk}=PATH.',
  },
  DISK_SIZE_DIFFERS: {
    kind: 'refused',
    what: 'disk {disk} needs {needed} bytes, and {path} on host "{host}" has {has}',
    fix: 'Name a device with --disk {disk}=PATH that is as large as the disk (raw), or large enough (qcow2), or a file.',
  },
  DISK_BLOCK_SIZE: {
    kind: 'refused',
    what: 'disk {disk} is used in blocks of {needed} bytes, and {path} on host "{host}" can only be written in blocks of {has}',
    fix: 'Name a device with such blocks, or a file, with --disk {disk}=PATH.',
  },
  DISK_NO_ROOM: {
    kind: 'refused',
    what: 'disk {disk} does not fit at {path} on host "{host}": {needed} are needed there, and {free} are free',
    fix: 'Make room, or name another path with --disk {disk}=PATH.',
  },
  DISK_COPY_FAILED: {
    kind: 'failed',
    what: 'disk {disk} could not be copied to the destination: {why}',
    fix: 'The VM goes on where it was. Look at the room, the device and the network there, then migrate again.',
  },

  // timeout
  DEADLINE: {
    kind: 'timeout',
    what: '{what} took longer than {ms} ms',
    fix: 'Raise the limit, or look at why it is slow.',
  },
  AGENT_SILENT: {
    kind: 'timeout',
    what: 'the guest agent did not answer {command} within {ms} ms',
    fix: 'Check that qemu-guest-agent runs in the guest and that the guest is not stuck.',
  },
  UNPLUG_IGNORED: {
    kind: 'timeout',
    what: 'the guest did not release device {device} within {ms} ms',
    fix: 'Check that the guest supports PCI hot-plug (ACPI) and is not stuck; the VM still has the device.',
  },

  // storage pools
  VOLUME_UNKNOWN: {
    kind: 'input',
    what: '{field}: pool {pool} has no volume "{value}"',
    fix: 'List them with "shadowferry pool list {pool}".',
    status: 404,
  },
  VOLUME_EXISTS: {
    kind: 'refused',
    what: 'pool {pool} has a volume "{volume}" already',
    fix: 'Take another name, or delete that one first.',
  },
  VOLUME_IN_USE: {
    kind: 'refused',
    what: 'volume "{volume}" of pool {pool} is used by {holder}, and cannot be {what}',
    fix: 'End that use first; if nothing uses it any more, say so with "shadowferry pool release {pool} {volume}".',
  },
  VOLUME_HEMMED: {
    kind: 'refused',
    what: 'volume "{volume}" cannot grow to {size} where it is: {free} are free behind it',
    fix: 'Let it move for that ("shadowferry pool grow --relocate"); it must not be in use meanwhile.',
  },
  POOL_NO_ROOM: {
    kind: 'refused',
    what: 'pool {pool} has no free extent of {size}; the largest has {largest}',
    fix: '{hint}',
  },
  POOL_CATALOG_FULL: {
    kind: 'refused',
    what: 'the catalog of pool {pool} is full: one more volume does not fit in it',
    fix: 'Delete volumes, or make a pool with room for more ("shadowferry pool create --volumes N").',
  },
  POOL_BUSY: {
    kind: 'refused',
    what: 'pool {pool} is in use: {why}',
    fix: 'Wait until that has ended; looking at it ("pool list", "pool report") is possible meanwhile.',
  },
  POOL_FOREIGN: {
    kind: 'refused',
    what: '{pool} holds no pool',
    fix: 'Check the path; "shadowferry pool create" makes one.',
  },
  POOL_NOT_EMPTY: {
    kind: 'refused',
    what: '{pool} is not empty: {why}',
    fix: 'Choose another device or file, or overwrite all that is on it with "--force".',
  },
  POOL_NEWER: {
    kind: 'refused',
    what: 'pool {pool} has format {found}, and this program knows formats up to {known}',
    fix: 'Use the newer Shadowferry that wrote it; nothing was changed.',
  },
  POOL_CORRUPT: {
    kind: 'failed',
    what: 'the catalog of pool {pool} is damaged: {why}',
    fix: 'Nothing is guessed and nothing was changed. The volumes may be whole: docs/pool.md says how to get at them.',
  },
  POOL_UNWRITABLE: {
    kind: 'failed',
    what: 'pool {pool} cannot be written: {why}',
    fix: 'Look at the device. Open the pool again afterwards: what was confirmed is there, and what was under way is taken to its end or back.',
  },
  POOL_MOVE_UNFINISHED: {
    kind: 'failed',
    what: 'volume "{volume}" of pool {pool} was being moved while {holder} uses it, and its QEMU cannot be asked: {why}',
    fix: 'See that the monitor {monitor} answers (one client at a time), and run the command again; if that QEMU has ended, "shadowferry pool release {pool} {volume}" says so.',
  },
  POOL_MOVE_FAILED: {
    kind: 'failed',
    what: 'volume "{volume}" of pool {pool} was not moved: {why}',
    fix: 'It is where it was, and whole. Correct the cause and run "shadowferry pool reorganize" again.',
  },
  POOL_GOAL_UNREACHABLE: {
    kind: 'refused',
    what: 'no free extent of {size} can be made in pool {pool}: {why}',
    fix: '{hint}',
  },

  CANCELLED: {
    kind: 'cancelled',
    what: 'cancelled by the user in phase {phase}',
    fix: 'The VM runs on the source, as before.',
  },
  DEGRADED: {
    kind: 'degraded',
    what: 'VM "{vm}" runs on {host} without its direct device: {why}',
    fix: 'Correct the cause and run "shadowferry attach {vm}" to try again (with daemons: at that of {host}).',
  },
  // the versioned transfer
  MISSING_PAGES: {
    kind: 'missing',
    what: 'this host keeps no pages of the VM "{vm}"',
    fix: 'Nothing needs to be done: all of its memory is sent. Pages are kept when a VM leaves by a versioned transfer.',
  },
  PAGES_DAMAGED: {
    kind: 'failed',
    what: 'kept pages are damaged ({what}): {why}',
    fix: 'They are not used. Delete them, and look at the disk or the memory that held them.',
  },
  TRANSFER_PROTOCOL: {
    kind: 'failed',
    what: 'the other end of the transfer says what cannot be: {why}',
    fix: 'The VM runs on the source. Both hosts should have the same version of Shadowferry; if they have, report it.',
  },
  TRANSFER_LINK_LOST: {
    kind: 'timeout',
    what: 'the link of the transfer was away for more than {ms} ms: {why}',
    fix: 'Look at the network between the hosts and migrate again.',
  },
  INTERNAL: {
    kind: 'internal',
    what: 'internal error: {why}',
    fix: 'This is a defect of Shadowferry; please report it with the journal.',
  },
} as const satisfies Record<string, Entry>;

export type ErrorCode = keyof typeof CATALOGUE;

/** Whether a text is a code of the catalogue. */
export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(CATALOGUE, text);
}

/** HTTP status of an error. */
export function statusOf(code: ErrorCode): number {
  const entry: Entry = CATALOGUE[code];
  return entry.status ?? KINDS[entry.kind].status;
}

export type ErrorParams = Record<string, string | number>;

type Names<Text extends string> = Text extends `${string}{${infer Name}}${infer Rest}`
  ? Name | Names<Rest>
  : never;

/**
 * What an error of code `C` must be given: a value for each name in its texts; more is allowed. Of a code that is
 * only known when it is there (another process said it) nothing can be asked for.
 */
export type ParamsOf<C extends ErrorCode> = ErrorCode extends C
  ? ErrorParams
  : C extends ErrorCode
    ? Record<Names<(typeof CATALOGUE)[C]['what' | 'fix']>, string | number> & ErrorParams
    : never;

function fill(template: string, params: ErrorParams): string {
  return template.replace(/\{(\w+)\}/g, (_, name: string) => String(params[name] ?? `{${name}}`));
}

/** An error of the catalogue. `message` is what happened, `fix` what to do, `params` the values it names. */
export class ShadowferryError<C extends ErrorCode = ErrorCode> extends Error {
  readonly code: ErrorCode;
  readonly params: ErrorParams;

  constructor(code: C, params: ParamsOf<C>, options?: { cause?: unknown }) {
    super(fill(CATALOGUE[code].what, params), options);
    this.name = 'ShadowferryError';
    this.code = code;
    this.params = params;
  }

  get kind(): ErrorKind {
    return CATALOGUE[this.code].kind;
  }

  get fix(): string {
    return fill(CATALOGUE[this.code].fix, this.params);
  }

  get exitCode(): number {
    return KINDS[this.kind].exit;
  }

  get status(): number {
    return statusOf(this.code);
  }

  toJSON(): { code: ErrorCode; kind: ErrorKind; message: string; fix: string; params: ErrorParams } {
    return { code: this.code, kind: this.kind, message: this.message, fix: this.fix, params: this.params };
  }
}

/** Turns anything thrown into an error of the catalogue, keeping the cause. */
export function toShadowferryError(error: unknown): ShadowferryError {
  if (error instanceof ShadowferryError) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new ShadowferryError('INTERNAL', { why }, { cause: error });
}

/** The text of anything thrown, for a `why` parameter. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
