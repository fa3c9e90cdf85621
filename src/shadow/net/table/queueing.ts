/** Traffic control: queueing disciplines, classes, filters. */
import { type AttributeGroup, group } from './row.ts';

export const QUEUEING: AttributeGroup = group({
  title: 'Traffic control',
  intro:
    'What is configured explicitly (its handle is not `0:`); what the kernel makes by itself comes by itself. All of it is one `tc -batch`: qdiscs and classes, parents first, then filters. It comes after traffic, but before it where there are filters, which may be what keeps traffic out. Numbers that tc prints rounded (rates above 1 Mbit are printed in whole Kbit, above 1 Gbit in whole Mbit; times with three digits) come back as printed. What tc does not print whole is reported as unknown, by name: red, choke, sfb and gred, a peak rate of tbf, the mask of the nat action, templates of chains, and classifiers or actions that are not listed here.',
  shared: {
    read: '`tc -j -d qdisc`',
    replay: '`tc qdisc replace`, parents first',
    adapted: '—',
    lost: 'the guest’s kernel refuses it; its words are the reason',
  },
  rows: [
    { attribute: 'qdisc.root', what: 'root queueing discipline' },
    { attribute: 'qdisc.ffff:*', what: 'ingress and clsact' },
    {
      attribute: 'qdisc.*',
      what: 'queueing discipline below a class, with its size table and shared blocks',
    },
    {
      attribute: 'tcclass.*',
      what: 'class of htb, hfsc, drr or qfq',
      read: '`tc -d class`, whose JSON is not whole',
      replay: '`tc class replace`',
    },
    {
      attribute: 'filter.*',
      what: 'filter (u32, flower, matchall, basic, fw, flow, route, bpf) with its actions (gact, mirred, police, skbedit, skbmod, pedit, vlan, csum, ct, tunnel_key, sample, simple, connmark), by place, chain, pref, protocol and handle',
      read: '`tc -d filter`, of each qdisc, class and side',
      replay:
        '`tc filter replace`, tables of u32 first; an action that several filters share keeps its index',
      lost: 'the guest’s kernel refuses it; a program that no file below /sys/fs/bpf keeps',
    },
  ],
});
