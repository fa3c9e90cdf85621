/** The calls that begin, cancel and confirm migrations, swaps and rescues. */
import type { StrategyTuning } from '../../memory/strategy/options.ts';
import { API } from '../api/contract.ts';
import type { SwapBody } from '../api/contract-migrations.ts';
import { bind, type CallContext, type Handlers } from '../api/handlers.ts';
import type { Job } from '../work/job.ts';
import type { Asker, Work } from '../work/work.ts';
import type { MigrationService } from './migrations.ts';

type WorkCalls =
  | 'submitMigration'
  | 'cancelMigration'
  | 'confirmMigration'
  | 'swapDevice'
  | 'rescueDevice'
  | 'attachDevices';

const askerOf = ({ principal, idempotencyKey }: CallContext): Asker => ({
  principal: principal?.name ?? 'nobody',
  key: idempotencyKey,
});

/** Only what is there: an absent field is another thing than one without a value. */
const withDevice = ({ device, ...rest }: SwapBody) => (device === undefined ? rest : { ...rest, device });

export function workHandlers(
  work: Work,
  migrations: MigrationService,
  tuning: StrategyTuning,
): Pick<Handlers, WorkCalls> {
  const swap = (kind: 'swap' | 'rescue', vm: string, body: SwapBody, context: CallContext) => {
    const request = { kind, vm, ...withDevice(body) };
    return migrations.get(work.swap({ kind, request }, askerOf(context)));
  };
  return {
    submitMigration: bind(API.submitMigration, async ({ body }, context) => {
      const { hold, whenItComes, ...asked } = body;
      const request = { ...asked, tuning: { ...tuning, ...asked.tuning } };
      const id = request.dryRun
        ? await work.plan(request, askerOf(context))
        : await work.migrate(request, { hold, whenItComes }, askerOf(context));
      return migrations.get(id);
    }),
    cancelMigration: bind(API.cancelMigration, ({ params }) => {
      migrations.mayCancel(params.id);
      work.cancel(params.id);
      return migrations.summary(params.id);
    }),
    confirmMigration: bind(API.confirmMigration, ({ params }) => {
      migrations.summary(params.id);
      work.confirm(params.id);
      return migrations.summary(params.id);
    }),
    swapDevice: bind(API.swapDevice, ({ params, body }, context) => swap('swap', params.vm, body, context)),
    rescueDevice: bind(API.rescueDevice, ({ params, body }, context) =>
      swap('rescue', params.vm, body, context),
    ),
    attachDevices: bind(API.attachDevices, ({ params, body }) => work.attach(params.vm, body.attachMs)),
  };
}

/** The answer that a request has got whose job is known, as it is answered now. */
export function answerOf(job: Job, migrations: MigrationService): { status: number; body: string } {
  const body = JSON.stringify(API.submitMigration.answer.parse(migrations.get(job.id)));
  return { status: API.submitMigration.status, body };
}
