/** `migrate`, `swap`, `rescue` and `attach` by the daemon of a host. */
import { randomUUID } from 'node:crypto';
import { API } from '../daemon/api/contract.ts';
import type { MigrationDetail, Reattachment } from '../daemon/api/model.ts';
import type { DaemonClient } from '../daemon/client/client.ts';
import { ShadowferryError } from '../errors.ts';
import type { MigrationRequest } from '../migration/request.ts';
import type { SwapRequest } from '../migration/swap/request.ts';
import { askBeforeHandOver } from './confirm.ts';
import { engineEvent, follow, resultIn } from './follow.ts';
import { exitCodeOf, outcomeLines, renderResult, resultLine } from './migration-output.ts';
import { cancelOnSignal, print, say } from './options.ts';
import { jsonProgress, listProgress, type ProgressView } from './progress.ts';
import { printable } from './shadow-format.ts';
import { swapProgress } from './show-swap.ts';

export interface RemoteOptions {
  json: boolean;
  /** Return when it is accepted. */
  detach: boolean;
}

/** Options that look at a guest from this machine, or write files about it here. @throws INPUT_FIELD */
export function refuseHere(options: Readonly<Record<string, unknown>>): void {
  for (const [option, value] of Object.entries(options)) {
    if (value === undefined || value === false) continue;
    const problem = 'works with a VM of this machine only, not with a daemon that is asked';
    throw new ShadowferryError('INPUT_FIELD', { field: option, problem });
  }
}

/** Where a job stands, for people and programs, each time that it is another place. */
function placeTeller(json: boolean): (detail: MigrationDetail) => void {
  let told = '';
  return ({ id, queue }) => {
    if (queue === null) return;
    const text = `${id} waits, number ${queue.position} in the queue: ${printable(queue.reason)}`;
    if (text === told) return;
    told = text;
    if (json) print(JSON.stringify({ type: 'queued', id, ...queue }));
    else say(text);
  };
}

function tellEnd(detail: MigrationDetail, json: boolean): void {
  const result = resultIn(detail);
  const told = resultLine({ ...result, id: detail.id }, undefined);
  if (json) print(JSON.stringify(told));
  else process.stdout.write(`${printableLines(renderResult({ ...result, id: detail.id }, undefined))}\n`);
  if (told.ok !== true) process.exitCode = exitCodeOf(result);
}

/** What comes from another host cannot act on the terminal. */
const printableLines = (text: string) => text.trimEnd().split('\n').map(printable).join('\n');

async function run(
  client: DaemonClient,
  begin: (key: string) => Promise<MigrationDetail>,
  makeView: () => ProgressView,
  { json, detach }: RemoteOptions,
): Promise<void> {
  // the same key when the request is repeated: it acts once
  const key = randomUUID();
  if (detach) {
    const { id, queue } = await begin(key);
    if (json) print(JSON.stringify({ type: 'queued', id, ...queue }));
    else print(id);
    return;
  }
  const signal = cancelOnSignal();
  let view: ProgressView | undefined;
  let begun: MigrationDetail | undefined;
  let asked: Promise<void> | undefined;
  const tellPlace = placeTeller(json);
  const control = new AbortController();
  const ended = AbortSignal.any([control.signal, signal]);
  const ask = async (detail: MigrationDetail) => {
    try {
      await askBeforeHandOver(detail, json, ended);
      await client.call(API.confirmMigration, { params: { id: detail.id }, query: {}, body: {} });
    } catch (error) {
      if (control.signal.aborted) return;
      await client.call(API.cancelMigration, { params: { id: detail.id }, query: {}, body: {} });
      if (!(error instanceof ShadowferryError && error.code === 'CANCELLED')) throw error;
    }
  };
  try {
    const detail = await follow(
      client,
      async () => {
        begun = await begin(key);
        return begun;
      },
      {
        onLook: (each) => {
          tellPlace(each);
          if (each.held) asked ??= ask(each);
        },
        onEvent: (event) => {
          if (event.type === 'migration.held' && begun !== undefined) asked ??= ask(begun);
          if (event.type === 'migration.requeued') {
            const { why = '' } = event.data;
            if (json) print(JSON.stringify({ type: 'requeued', id: event.data.id, why }));
            else say(`It goes back into the queue: ${printable(String(why))}`);
          }
          const told = engineEvent(event);
          if (told === undefined) return;
          view ??= makeView();
          view.emit(told);
        },
      },
      signal,
    );
    control.abort();
    await view?.finish(detail.error?.message);
    tellEnd(detail, json);
  } catch (error) {
    control.abort();
    await view?.finish('it is not followed any more');
    if (!signal.aborted || begun === undefined) throw error;
    await asked?.catch(() => {});
    // a held one was cancelled by the same key; any other goes on
    if (asked === undefined)
      say(
        `${begun.id} goes on. "shadowferry cancel ${begun.id}" takes it back, "shadowferry explain ${begun.id}" tells of it.`,
      );
    process.exitCode = 130;
  }
}

export async function migrateRemotely(
  client: DaemonClient,
  request: MigrationRequest,
  how: { hold: boolean; whenItComes: boolean },
  options: RemoteOptions,
): Promise<void> {
  const begin = (idempotencyKey: string) =>
    client.call(
      API.submitMigration,
      { params: {}, query: {}, body: { ...request, ...how } },
      { idempotencyKey },
    );
  await run(client, begin, () => (options.json ? jsonProgress(print) : listProgress(how.hold)), {
    ...options,
    detach: options.detach && !request.dryRun,
  });
}

export async function swapRemotely(
  client: DaemonClient,
  { kind, vm, ...request }: SwapRequest,
  options: RemoteOptions,
): Promise<void> {
  const call = kind === 'swap' ? API.swapDevice : API.rescueDevice;
  const begin = (idempotencyKey: string) =>
    client.call(call, { params: { vm }, query: {}, body: request }, { idempotencyKey });
  await run(client, begin, () => swapProgress(kind, options.json), options);
}

function outcomesOf(outcomes: Reattachment['nics'][number]['outcomes']) {
  const of = (fate: string) => outcomes.filter((each) => each.fate === fate);
  return {
    captured: outcomes.length,
    restored: of('restored').map(({ key, value }) => ({ fate: 'restored' as const, key, value })),
    adapted: of('adapted').map(({ key, value, now = '', how = '' }) => ({
      ...{ fate: 'adapted' as const, key, value, now, how },
    })),
    lost: of('lost').map(({ key, value, why = '' }) => ({ fate: 'lost' as const, key, value, why })),
  };
}

export async function attachRemotely(
  client: DaemonClient,
  vm: string,
  { attachMs, json }: { attachMs: number | undefined; json: boolean },
): Promise<void> {
  const body = attachMs === undefined ? {} : { attachMs };
  const done = await client.call(API.attachDevices, { params: { vm }, query: {}, body });
  if (json) {
    const nics = done.nics.map(({ outcomes, ...nic }) => ({ ...nic, shadow: outcomesOf(outcomes) }));
    print(JSON.stringify({ type: 'attached', ok: true, vm, migration: done.migration, nics }));
    return;
  }
  for (const line of done.said) say(printable(line));
  for (const { nic, action, reason, device, outcomes } of done.nics) {
    const what = action === 'none' ? 'nothing is missing' : `it has ${device.id} (${device.model})`;
    print(printable(`${nic}: ${what}: ${reason}.`));
    for (const line of outcomeLines(outcomesOf(outcomes))) print(printable(line));
  }
}
