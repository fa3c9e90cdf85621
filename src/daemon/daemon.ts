/** The daemon of one host: opens what it keeps, listens, and stops without touching a VM. */
import { chmodSync, mkdirSync } from 'node:fs';
import type { Logger } from 'pino';
import { readNeeded } from '../base/safe-file.ts';
import { reasonOf, ShadowferryError } from '../errors.ts';
import type { Host } from '../host/host.ts';
import { pciNics } from '../host/pci-nic.ts';
import { Journal } from '../migration/journal.ts';
import type { RecoverMigration } from '../migration/recovery/model.ts';
import { recoverMigration } from '../migration/recovery/recover.ts';
import { examineMachine } from '../observe/examine.ts';
import { openOwnership } from '../ownership/open.ts';
import { AbilityStore } from '../shadow/net/abilities.ts';
import { ShadowStore } from '../shadow/store/store.ts';
import { TokenList } from './auth/tokens.ts';
import type { DaemonConfig } from './config/model.ts';
import { ownershipOf, statePaths } from './config/read.ts';
import { openDaemonDatabase } from './http/database.ts';
import { EventLog } from './http/event-log.ts';
import { EventHub } from './http/event-stream.ts';
import { Gate } from './http/gate.ts';
import { Idempotency } from './http/idempotency.ts';
import { openListeners, type Times } from './http/listeners.ts';
import { makeMetrics } from './http/metrics.ts';
import { makeApp } from './http/server.ts';
import { urgencyOf } from './http/urgent.ts';
import { lockState } from './lock.ts';
import { type Half, openHalf } from './peer/half.ts';
import { factsOf } from './pki/certificate.ts';
import { RevokedList } from './pki/revoked.ts';
import { accountsOf, keepClean } from './reconcile/reconcile.ts';
import { DeviceService } from './services/devices.ts';
import { keepForgetting } from './services/forget.ts';
import { makeHandlers } from './services/handlers.ts';
import { addressText, type Examine, HostService } from './services/hosts.ts';
import { MigrationService } from './services/migrations.ts';
import { startPresence } from './services/presence.ts';
import { ShadowService } from './services/shadows.ts';
import { JournalTail } from './services/tail.ts';
import { VmService } from './services/vms.ts';
import { answerOf } from './services/work-handlers.ts';
import { limitConsoles } from './vms/console-limit.ts';
import { Definitions } from './vms/definitions.ts';
import { VmRegistry } from './vms/registry.ts';
import { realDevices, thisHost, vmsDirectory } from './vms/this-host.ts';
import { type Destinations, Work } from './work/work.ts';

/** Requests that are being answered when it stops may take so long, ms. */
const GRACE_MS = 10_000;
/** Migrations that are handed over, or on their way back, may take so long when it stops; the next daemon goes on. */
const WORK_MS = 60_000;
const DAY_MS = 86_400_000;
/** Certificates that end so soon are warned of every day. */
const SOON_DAYS = 30;

export interface Daemon {
  /** Port of the TLS listener. */
  port: number | undefined;
  /** Whether somebody is still reading events, for tests and figures. */
  hub: EventHub;
  /** Reads certificates anew. @throws FILE_UNSAFE */
  reload: () => void;
  /** Takes no new work, answers what it has begun, and lets go of everything. VMs run on. */
  stop: () => Promise<void>;
}

export interface DaemonOptions {
  config: DaemonConfig;
  log: Logger;
  version: string;
  /** Looks at this machine; tests have one of their own. */
  examine?: Examine;
  /** The host that runs the VMs; tests have one whose QEMUs are none. */
  machine?: Host;
  /** Other hosts, and the recovery of open migrations; tests have their own. */
  destinations?: Destinations;
  recover?: RecoverMigration;
  times?: Times;
  graceMs?: number;
  workMs?: number;
}

/** Undoes what was done so far, the last first. */
class Undoing {
  readonly #undo: (() => void | Promise<void>)[] = [];

  add(undo: () => void | Promise<void>): void {
    this.#undo.push(undo);
  }

  async all(): Promise<void> {
    for (const undo of this.#undo.splice(0).reverse()) await undo();
  }
}

/** Makes the state directory, for us alone. @throws FILE_UNSAFE */
function makeState(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    chmodSync(directory, 0o700);
  } catch (error) {
    throw new ShadowferryError('FILE_UNSAFE', { file: directory, why: reasonOf(error) }, { cause: error });
  }
}

/** Says when the certificate of this host ends soon. */
function watchExpiry(file: string, log: Logger): () => void {
  const look = () => {
    try {
      const { notAfterMs } = factsOf(readNeeded(file), file);
      const days = Math.floor((notAfterMs - Date.now()) / DAY_MS);
      if (days < SOON_DAYS) log.warn({ file, days }, 'the certificate of this host ends soon');
    } catch (error) {
      log.warn({ file, err: error }, 'the certificate of this host cannot be read');
    }
  };
  look();
  const timer = setInterval(look, DAY_MS).unref();
  return () => clearInterval(timer);
}

/**
 * Starts. When this resolves the daemon answers.
 * @throws DAEMON_RUNS, SOCKET_UNSAFE, LISTEN_FAILED, FILE_UNSAFE, TOKENS_INVALID, PKI_INVALID; nothing is left then.
 */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const undoing = new Undoing();
  try {
    return await start(options, undoing);
  } catch (error) {
    await undoing.all();
    throw error;
  }
}

/** Requests that the daemon before did not come to answer, though it had accepted them: they are answered now. */
function answerInterrupted(idempotency: Idempotency, work: Work, migrations: MigrationService): void {
  for (const { principal, key } of idempotency.interrupted()) {
    const job = work.byKey(principal, key);
    if (job !== undefined) idempotency.finish(principal, key, answerOf(job, migrations));
  }
}

async function start(options: DaemonOptions, undoing: Undoing): Promise<Daemon> {
  const { config, log, version } = options;
  const paths = statePaths(config);
  makeState(config.state);
  undoing.add(lockState(paths.lock, config.state));
  const db = openDaemonDatabase(paths.daemon);
  undoing.add(() => db.close());
  const events = openDaemonDatabase(paths.daemon);
  undoing.add(() => events.close());
  const journal = new Journal(paths.journal);
  undoing.add(() => journal.dispose());
  const shadows = new ShadowStore(paths.shadows);
  undoing.add(() => shadows.dispose());
  const ownership = openOwnership(ownershipOf(config));
  undoing.add(() => ownership.close());
  const tokens = new TokenList(paths.tokens);
  const revoked = config.listen?.revoked === undefined ? undefined : new RevokedList(config.listen.revoked);

  const metrics = makeMetrics({ version, host: config.host });
  const hub = new EventHub(new EventLog(events, config.limits.events), config.limits, () =>
    metrics.streamsDropped.inc(),
  );
  undoing.add(() => hub.close());
  const gate = new Gate();
  const publish = (type: string, data: Record<string, unknown>) => {
    const about = urgencyOf(type, data);
    if (about !== undefined) gate.urgent(about.id, about.urgent);
    metrics.events.inc({ type });
    try {
      hub.publish(type, data);
    } catch (error) {
      // a full disk: what happens goes on, and the log has it
      log.error(
        { err: error, type, data },
        'an event cannot be kept, and is told to nobody who reads events',
      );
    }
  };
  let stopping = false;
  const definitions = new Definitions(paths.vms);
  undoing.add(() => definitions.close());
  let half: Half | undefined;
  const registry = new VmRegistry({
    ...{ host: options.machine ?? (await thisHost(config)), ownership, definitions, publish },
    migrating: (vm) =>
      half?.incoming.expects(vm) === true || journal.migrations({ vm, open: true }).length > 0,
  });
  undoing.add(() => registry.close());
  undoing.add(limitConsoles(registry, log));
  const abilities = new AbilityStore(paths.abilities);
  half = openHalf({ config, path: paths.incoming, registry, journal, abilities, shadows, publish, log });
  const { incoming, peers } = half;
  undoing.add(half.close);
  undoing.add(half.stop);
  const unusable = realDevices(config.devices);
  if (unusable.length > 0)
    log.warn({ devices: unusable }, 'real PCI devices are shown, and no VM can be given one yet');
  // first what is on its way: nobody else connects to its QEMU
  incoming.recover();
  await registry.recover((name) => incoming.expects(name));
  const accounts = () => accountsOf(registry, journal.migrations({ open: true }), incoming.open());
  const directory = vmsDirectory(config);
  const counted = (what: string, fate: string) => metrics.leftovers.inc({ what, fate });
  undoing.add(keepClean({ host: registry.host, directory, ownership, publish, log, accounts, counted }));
  const open = () => journal.migrations({ open: true }).length + incoming.open().length;
  undoing.add(
    keepForgetting({
      ...{ journals: { outgoing: journal, incoming: half.arrivals }, keep: config.journal.keep, log },
      vms: () => registry.list().map(({ name }) => name),
      busy: () => open() > 0,
    }),
  );
  const address = config.listen === undefined ? '' : addressText(config.listen.address);
  const presence = startPresence(ownershipOf(config), { name: config.host, address, version }, log);
  undoing.add(() => presence.stop());
  const work = new Work({
    ...{ host: registry.host, vms: registry, ownership, shadows, publish, log },
    paths: { journal: paths.journal, queue: paths.queue },
    limits: config.queue,
    abilities,
    registry: metrics.registry,
    destinations: options.destinations ?? ((name) => peers.get(name)),
    recover: options.recover ?? recoverMigration,
    arrivals: half.arrivals,
  });
  const stopWork = () => work.stop(options.workMs ?? WORK_MS);
  undoing.add(stopWork);
  const migrations = new MigrationService(journal, work);
  const { binary: qemu } = config.qemu;
  const examine: Examine = options.examine ?? ((how) => examineMachine({ ...how, qemu, networks: false }));
  const services = {
    hosts: new HostService(config, examine, presence.ask),
    devices: new DeviceService(config, ownership, pciNics),
    migrations,
    shadows: new ShadowService(shadows),
    vms: new VmService(registry, (vm) => work.startedAnew(vm)),
    work,
    tuning: config.migration.strategy,
    about: { version, host: config.host, startedMs: Date.now() },
    stopping: () => stopping,
    publish,
  };
  const idempotency = new Idempotency(db);
  answerInterrupted(idempotency, work, migrations);
  const app = await makeApp({
    handlers: makeHandlers(services),
    peer: half.handlers,
    identities: { tokens, revoked, peers: new Set(config.peers.map(({ name }) => name)), nowMs: Date.now },
    hub,
    gate,
    idempotency,
    metrics,
    log,
    version,
    requestsPerSecond: config.limits.requestsPerSecond,
    stopping: () => stopping,
  });
  undoing.add(() => app.close());
  const tail = new JournalTail(
    journal,
    publish,
    (error) => log.error({ err: error }, 'the journal cannot be read'),
    { nameOf: (entry) => work.nameOf(entry) },
  );
  undoing.add(() => tail.stop());
  const listeners = await openListeners(
    config,
    (request, response) => app.routing(request, response),
    options.times,
  );
  undoing.add(async () => {
    stopping = true;
    gate.close();
    hub.close();
    await listeners.close(options.graceMs ?? GRACE_MS);
  });
  if (config.listen !== undefined) undoing.add(watchExpiry(config.listen.certificate, log));
  publish('daemon.started', { host: config.host, version });
  work.start();
  return {
    port: listeners.port,
    hub,
    reload: () => {
      listeners.reload();
      peers.reload();
    },
    stop: async () => {
      if (stopping) return;
      stopping = true;
      publish('daemon.stopping', { host: config.host });
      void half?.stop(); // who waits for news of it is answered
      void stopWork(); // begins to take back what it can; it is waited for below
      await undoing.all();
    },
  };
}
