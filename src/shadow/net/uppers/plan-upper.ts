/** What stands on the device, made again or bound anew on an interface that has another index than before. Pure. */
import { upperAttributes } from '../attributes.ts';
import { linkKey, upperKey } from '../keys.ts';
import type { DeviceAbilities, NetShadow, Upper } from '../model.ts';
import { type Draft, draft, type Findings, noFindings } from '../plan-draft.ts';
import { fittingMtu } from '../plan-driver.ts';
import { addressDrafts, onwardDrafts } from '../plan-layer3.ts';
import {
  altnameDrafts,
  ipv6LinkDrafts,
  linkDrafts,
  multicastDrafts,
  sysctlDrafts,
} from '../plan-settings.ts';
import { tcDrafts } from '../plan-tc.ts';
import { treatmentOf } from './kinds.ts';
import { asShadow } from './layers.ts';

/** What the making of upper interfaces depends on. */
export interface UpperContext {
  shadow: NetShadow;
  abilities: DeviceAbilities | undefined;
}

/** Kinds whose MAC is that of the interface below, and cannot be another. */
const MAC_OF_BELOW = new Set(['ipvlan', 'ipvtap']);

/** The key of everything that follows from an upper interface's being there. */
const existence = (upper: Upper): string => upperKey(upper.link.name, 'kind');

function macOfBelow(shadow: NetShadow, upper: Upper): string | undefined {
  if (upper.over === shadow.link.name) return shadow.link.mac;
  return shadow.uppers?.find(({ link }) => link.name === upper.over)?.link.mac;
}

function addition(shadow: NetShadow, upper: Upper, by: 'link' | 'dev'): Draft {
  const { link, kind, args, over } = upper;
  const inherits = MAC_OF_BELOW.has(kind) || link.mac === '' || link.mac === macOfBelow(shadow, upper);
  return draft(
    'traffic',
    'ip',
    [
      ...['link', 'add', 'name', link.name],
      ...(by === 'link' ? ['link', over] : []),
      ...(inherits ? [] : ['address', link.mac]),
      ...['type', kind],
      // `macaddr set` takes all words after it
      ...(by === 'dev' ? ['dev', over] : []),
      ...args,
    ],
    [existence(upper), upperKey(link.name, linkKey('mac'))],
  );
}

interface Layers {
  /** Before the first packet. */
  early: Draft[];
  traffic: Draft[];
  rest: Draft[];
}

/** Everything of an upper interface but its being there. */
function layersOf(context: UpperContext, upper: Upper, found: Findings): Layers {
  const { name } = upper.link;
  const own = asShadow(upper);
  const within = noFindings();
  const mtu = fittingMtu(upper.link.mtu, linkKey('mtu'), context.abilities, within);
  const drafts: Draft[] = [
    ...sysctlDrafts(own, name),
    ...ipv6LinkDrafts(own, name),
    ...linkDrafts(upper.link, name, { stage: 'raise', mtu }),
    ...(upper.link.up ? [draft('raise', 'ip', ['link', 'set', 'dev', name, 'up'], [linkKey('up')])] : []),
    ...addressDrafts(own, within),
    ...onwardDrafts(own, within),
    ...upper.forwarding.map((words) => draft('rest', 'bridge', ['fdb', 'append', ...words], ['forwarding'])),
    ...altnameDrafts(own),
    ...tcDrafts(own, name, within),
    ...multicastDrafts(own),
  ].map((d) => ({ ...d, attributes: d.attributes.map((key) => upperKey(name, key)) }));
  found.losses.push(...within.losses.map((loss) => ({ ...loss, key: upperKey(name, loss.key) })));
  found.adaptations.push(...within.adaptations.map((one) => ({ ...one, key: upperKey(name, one.key) })));
  found.warnings.push(...within.warnings);
  return {
    early: drafts.filter(({ stage }) => stage === 'prepare').map((d) => ({ ...d, stage: 'traffic' })),
    traffic: drafts
      .filter(({ stage }) => stage === 'raise' || stage === 'traffic')
      .map((d) => ({ ...d, stage: 'traffic' })),
    rest: drafts.filter(({ stage }) => stage === 'rest'),
  };
}

/** A tunnel keeps all that it has but the interface that it is bound to; being bound, some reckon their MTU anew. */
function rebinding({ link, kind, over }: Upper): Draft[] {
  return [
    draft(
      'traffic',
      'ip',
      ['link', 'set', 'dev', link.name, 'type', kind, 'dev', over],
      [upperKey(link.name, 'kind')],
    ),
    draft(
      'traffic',
      'ip',
      ['link', 'set', 'dev', link.name, 'mtu', String(link.mtu)],
      [upperKey(link.name, linkKey('mtu'))],
    ),
  ];
}

/**
 * Upper interfaces on an interface with a new index: those that went with the old one are made again, each with all its
 * layers, tunnels are bound anew. Made all at once, then given their sysctls, then raised: `ip` runs twice, however many
 * there are. All of it is traffic's: a VLAN's is as urgent as the interface's own.
 * @param present they are still there, on the interface that is about to go, and make room first.
 */
export function upperDrafts(context: UpperContext, present: boolean, found: Findings): Draft[] {
  const { shadow } = context;
  const additions: Draft[] = [];
  const removals: Draft[] = [];
  const bindings: Draft[] = [];
  const layers: Layers = { early: [], traffic: [], rest: [] };
  const gone = new Set<string>();
  for (const upper of shadow.uppers ?? []) {
    const treatment = treatmentOf(upper.kind);
    const reason =
      treatment.action === 'cannot'
        ? treatment.reason
        : gone.has(upper.over)
          ? `it stood on ${upper.over}, which is lost`
          : undefined;
    if (reason !== undefined) {
      gone.add(upper.link.name);
      found.losses.push(...upperAttributes(upper).map((attribute) => ({ ...attribute, why: reason })));
      found.warnings.push(`${upper.link.name} (${upper.kind}) on ${upper.over} is lost: ${reason}`);
    } else if (treatment.action === 'rebind') bindings.push(...rebinding(upper));
    else if (treatment.action === 'remake') {
      // the uppermost first: one that is removed takes along what stands on it
      if (present) removals.unshift(draft('traffic', 'ip', ['link', 'delete', 'dev', upper.link.name]));
      additions.push(addition(shadow, upper, treatment.by));
      const own = layersOf(context, upper, found);
      layers.early.push(...own.early);
      layers.traffic.push(...own.traffic);
      layers.rest.push(...own.rest);
      if (/^(macvtap|ipvtap)$/.test(upper.kind)) {
        found.warnings.push(
          `${upper.link.name} is made again as another /dev/tap…: the program that has it open must open the new one`,
        );
      }
    }
  }
  return [...removals, ...additions, ...bindings, ...layers.early, ...layers.traffic, ...layers.rest];
}
