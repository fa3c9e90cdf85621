/** Queueing disciplines. */
import { type AttributeGroup, group } from './row.ts';

export const QUEUEING: AttributeGroup = group({
  title: 'Queueing',
  intro:
    'What is configured explicitly (its handle is not `0:`); what the kernel makes by itself comes by itself.',
  shared: {
    read: '`tc -j -d qdisc`',
    replay: '`tc qdisc replace`, parents first',
    adapted: '—',
    lost: 'the guest’s kernel refuses it; its words are the reason',
  },
  rows: [
    { attribute: 'qdisc.root', what: 'root queueing discipline' },
    { attribute: 'qdisc.ffff:*', what: 'ingress and clsact' },
    { attribute: 'qdisc.*', what: 'queueing discipline below a class' },
  ],
});
