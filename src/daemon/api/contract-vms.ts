/** The calls about VMs. */
import { z } from 'zod';
import { get, NoBody, Nothing, OfVm, Paged, Paging, post } from './contract-parts.ts';
import type { Endpoint } from './endpoint.ts';
import { pageOf } from './model.ts';
import {
  AdoptRequest,
  ConsolePiece,
  Forgotten,
  KeptOverride,
  Owned,
  StartRequest,
  StopRequest,
  TakeOverRequest,
  Vm,
  VmChanged,
  VmDefinition,
  VmDetail,
} from './model-vms.ts';

const tag = 'vms';
const operator = { tag, needs: 'operator' } as const;
const admin = { tag, needs: 'admin' } as const;

/** Pieces of a console, bytes. */
const CONSOLE_BYTES = 65_536;
const MOST_CONSOLE_BYTES = 1_048_576;

export const VM_API = {
  listVms: get(
    '/v1/vms',
    { tag, summary: 'The VMs that this host knows' },
    {
      params: Nothing,
      query: z.strictObject({
        ...Paging,
        state: Vm.shape.state.optional().describe('Only those in this state.'),
      }),
      answer: pageOf(Vm),
    },
  ),
  getVm: get(
    '/v1/vms/{vm}',
    { tag, summary: 'One VM, with all that it is made of' },
    { params: OfVm, query: Nothing, answer: VmDetail },
  ),
  defineVm: post(
    '/v1/vms',
    { ...admin, summary: 'Define a VM; nothing is started', status: 201 },
    { params: Nothing, body: VmDefinition, answer: VmDetail },
  ),
  startVm: post(
    '/v1/vms/{vm}/start',
    { ...operator, summary: 'Start a VM that is defined here, if its record allows it' },
    { params: OfVm, body: StartRequest, answer: VmChanged },
  ),
  stopVm: post(
    '/v1/vms/{vm}/stop',
    { ...operator, summary: 'Ask the guest to shut down; end QEMU when it does not, or at once' },
    { params: OfVm, body: StopRequest, answer: VmChanged },
  ),
  pauseVm: post(
    '/v1/vms/{vm}/pause',
    { ...operator, summary: 'Stop the vCPUs of a VM' },
    { params: OfVm, body: Nothing, answer: VmChanged },
  ),
  resumeVm: post(
    '/v1/vms/{vm}/resume',
    { ...operator, summary: 'Let the vCPUs of a VM run on, if its record allows it' },
    { params: OfVm, body: StartRequest, answer: VmChanged },
  ),
  forgetVm: {
    ...{ method: 'DELETE', path: '/v1/vms/{vm}', params: OfVm, query: Nothing, body: NoBody },
    ...{ ...admin, summary: 'Forget a VM that does not run here, and its record if that names this host' },
    ...{ answer: Forgotten, status: 200, idempotent: false },
  },
  adoptVm: post(
    '/v1/adoptions',
    { ...admin, summary: 'Take in a QEMU that runs already, by its QMP socket', status: 201 },
    { params: Nothing, body: AdoptRequest, answer: VmDetail },
  ),
  takeOverVm: post(
    '/v1/vms/{vm}/take-over',
    { ...admin, summary: 'Move the record of a VM from a host that is dead for certain to this one' },
    { params: OfVm, body: TakeOverRequest, answer: Owned },
  ),
  listOverrides: get(
    '/v1/overrides',
    { tag, summary: 'What administrators took upon themselves, the newest first' },
    { params: Nothing, query: Paged, answer: pageOf(KeptOverride) },
  ),
  readConsole: get(
    '/v1/vms/{vm}/console',
    { tag, summary: 'What the guest wrote on its serial console', needs: 'operator' },
    {
      params: OfVm,
      query: z.strictObject({
        from: z.coerce
          .number()
          .int()
          .min(0)
          .max(Number.MAX_SAFE_INTEGER)
          .optional()
          .describe('Where to begin, bytes; without it: so that the last bytes come.'),
        bytes: z.coerce
          .number()
          .int()
          .min(1)
          .max(MOST_CONSOLE_BYTES)
          .default(CONSOLE_BYTES)
          .describe('How many at most.'),
        waitSeconds: z.coerce
          .number()
          .int()
          .min(0)
          .max(25)
          .default(0)
          .describe('Wait so long for something to come, where there is nothing yet.'),
      }),
      answer: ConsolePiece,
    },
  ),
} as const satisfies Record<string, Endpoint>;
