/** Which service answers which call. */
import type { StrategyTuning } from '../../memory/strategy/options.ts';
import { API } from '../api/contract.ts';
import { bind, type Handlers } from '../api/handlers.ts';
import type { Work } from '../work/work.ts';
import type { DeviceService } from './devices.ts';
import type { HostService } from './hosts.ts';
import type { MigrationService } from './migrations.ts';
import type { ShadowService } from './shadows.ts';
import type { VmService } from './vms.ts';
import { workHandlers } from './work-handlers.ts';

export interface Services {
  hosts: HostService;
  devices: DeviceService;
  migrations: MigrationService;
  shadows: ShadowService;
  vms: VmService;
  work: Work;
  /** Thresholds of the strategy for migrations that do not say their own. */
  tuning: StrategyTuning;
  about: { version: string; host: string; startedMs: number };
  stopping: () => boolean;
  publish: (type: string, data: Record<string, unknown>) => void;
}

export function makeHandlers(services: Services): Handlers {
  const { hosts, devices, migrations, shadows, vms, work, tuning, about, stopping, publish } = services;
  return {
    health: bind(API.health, () => ({ status: stopping() ? ('stopping' as const) : ('ok' as const) })),
    version: bind(API.version, () => ({
      name: 'shadowferry' as const,
      api: 'v1' as const,
      node: process.version,
      ...about,
    })),
    listHosts: bind(API.listHosts, ({ query }) => hosts.list(query)),
    getHost: bind(API.getHost, ({ params }) => hosts.get(params.host)),
    examineHost: bind(API.examineHost, async ({ params, body }) => {
      const examination = await hosts.examine(params.host, body.fresh);
      publish('host.examined', { host: params.host, ok: examination.ok, tookMs: examination.tookMs });
      return examination;
    }),
    listDevices: bind(API.listDevices, ({ query }) => devices.list(query)),
    getDevice: bind(API.getDevice, ({ params }) => devices.get(params.device)),
    listMigrations: bind(API.listMigrations, ({ query }) => migrations.list(query)),
    getMigration: bind(API.getMigration, ({ params }) => migrations.get(params.id)),
    ...workHandlers(work, migrations, tuning),
    listSteps: bind(API.listSteps, ({ params, query }) => migrations.steps(params.id, query)),
    listNotes: bind(API.listNotes, ({ params, query }) => migrations.notes(params.id, query)),
    explainMigration: bind(API.explainMigration, ({ params }) => migrations.explain(params.id)),
    traceMigration: bind(API.traceMigration, ({ params }) => migrations.trace(params.id)),
    listVms: bind(API.listVms, ({ query }) => vms.list(query)),
    getVm: bind(API.getVm, ({ params }) => vms.get(params.vm)),
    defineVm: bind(API.defineVm, ({ body }) => vms.define(body)),
    startVm: bind(API.startVm, ({ params, body }, { principal }) =>
      vms.start(params.vm, body.override?.why, principal),
    ),
    stopVm: bind(API.stopVm, ({ params, body }) => vms.stop(params.vm, body)),
    pauseVm: bind(API.pauseVm, ({ params }) => vms.pause(params.vm)),
    resumeVm: bind(API.resumeVm, ({ params, body }, { principal }) =>
      vms.resume(params.vm, body.override?.why, principal),
    ),
    forgetVm: bind(API.forgetVm, ({ params }) => vms.forget(params.vm)),
    adoptVm: bind(API.adoptVm, ({ body }) => vms.adopt(body)),
    takeOverVm: bind(API.takeOverVm, ({ params, body }, { principal }) =>
      vms.takeOver(params.vm, body.why, principal),
    ),
    listOverrides: bind(API.listOverrides, ({ query }) => vms.overrides(query)),
    readConsole: bind(API.readConsole, ({ params, query }) => vms.console(params.vm, query)),
    listShadows: bind(API.listShadows, ({ query }) => shadows.list(query)),
    listShadowVersions: bind(API.listShadowVersions, ({ params, query }) =>
      shadows.versions(params.vm, params.nic, query),
    ),
    getShadow: bind(API.getShadow, ({ params }) => shadows.get(params.vm, params.nic, params.version)),
    diffShadows: bind(API.diffShadows, ({ params, query }) =>
      shadows.diff(params.vm, params.nic, query.from, query.to),
    ),
  };
}
