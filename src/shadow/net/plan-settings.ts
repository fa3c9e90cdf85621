/** Link settings, sysctls and multicast memberships of an interface, as repeatable operations. */
import { linkKey, multicastKey, sysctlKey } from './keys.ts';
import type { LinkState, NetShadow } from './model.ts';
import { type Draft, draft, write } from './plan-draft.ts';
import type { Stage } from './plan-model.ts';

/** Sysctls that must hold before the interface is up or before the first packet. Writing one costs no process. */
const EARLY = [
  /^ipv6\/conf\/\{dev\}\/(disable_ipv6|stable_secret|addr_gen_mode|accept_dad|dad_transmits|keep_addr_on_down)$/,
  /^ipv6\/conf\/\{dev\}\/(autoconf|use_tempaddr|accept_ra|accept_ra_\w+|router_solicitations|forwarding|proxy_ndp)$/,
  /^ipv[46]\/conf\/\{dev\}\/(disable_policy|disable_xfrm|ignore_routes_with_linkdown)$/,
  /^ipv4\/conf\/\{dev\}\/(rp_filter|forwarding|arp_\w+|accept_local|route_localnet|src_valid_mark)$/,
  /^ipv4\/conf\/\{dev\}\/(proxy_arp|proxy_arp_pvlan|promote_secondaries|loose_source_route|mc_forwarding)$/,
];

/** Sysctls whose order matters, first to last; all others follow as they come. */
const FIRST = [
  'ipv6/conf/{dev}/disable_ipv6',
  'ipv6/conf/{dev}/stable_secret',
  'ipv6/conf/{dev}/addr_gen_mode',
];

const ACCEPT_DAD = 'ipv6/conf/{dev}/accept_dad';

const sysctlFile = (path: string, dev: string): string =>
  `/proc/sys/net/${path
    .split('/')
    .map((part) => (part === '{dev}' ? dev : part))
    .join('/')}`;

function isEarly(path: string): boolean {
  return EARLY.some((pattern) => pattern.test(path));
}

/**
 * Sysctls of an interface: the early ones are written under `preparing`, its name in stage `prepare`, the others
 * under its own. While the interface comes up no duplicate is looked for: that would hold IPv6 up for a second.
 */
export function sysctlDrafts(shadow: NetShadow, preparing: string): Draft[] {
  const rank = (path: string) => {
    const at = FIRST.indexOf(path);
    return at < 0 ? FIRST.length : at;
  };
  const sorted = [...shadow.sysctls].sort((a, b) => rank(a.path) - rank(b.path));
  return sorted.flatMap((sysctl) => {
    const { path, value } = sysctl;
    const key = [sysctlKey(sysctl)];
    if (path === ACCEPT_DAD && value !== '0') {
      return [
        write('prepare', sysctlFile(path, preparing), '0'),
        write('rest', sysctlFile(path, shadow.link.name), value, key),
      ];
    }
    if (isEarly(path)) return [write('prepare', sysctlFile(path, preparing), value, key)];
    return [write('rest', sysctlFile(path, shadow.link.name), value, key)];
  });
}

/** The kernel takes the link's MTU for IPv6's when it notes a link: what is smaller is set again after that. */
export function notedSysctlDrafts(shadow: NetShadow): Draft[] {
  return shadow.sysctls
    .filter(({ path }) => path === 'ipv6/conf/{dev}/mtu')
    .map((sysctl) =>
      write('noted', sysctlFile(sysctl.path, shadow.link.name), sysctl.value, [sysctlKey(sysctl)]),
    );
}

/** Which settings of a link an interface needs. */
export interface LinkOptions {
  stage: Stage;
  /** Undefined: the device keeps the one that it has. */
  mac?: string;
  /** Undefined: left alone (a bond sets its members' MTU). */
  mtu?: number;
  key?: (field: keyof LinkState) => string;
  /** Its name in stage `rest`, where that is another. */
  later?: string;
}

/** `ip link set` for everything that is not as it is on a fresh interface; one line each, so that one may fail. */
export function linkDrafts(link: LinkState, dev: string, options: LinkOptions): Draft[] {
  const key = options.key ?? linkKey;
  const drafts: Draft[] = [];
  const set = (field: keyof LinkState, ...words: string[]) =>
    drafts.push(draft(options.stage, 'ip', ['link', 'set', 'dev', dev, ...words], [key(field)]));
  if (options.mac !== undefined) set('mac', 'address', options.mac);
  if (options.mtu !== undefined) set('mtu', 'mtu', String(options.mtu));
  set('txqueuelen', 'txqueuelen', String(link.txqueuelen));
  if (link.group !== 'default' && link.group !== '') set('group', 'group', link.group);
  if (!link.multicast) set('multicast', 'multicast', 'off');
  if (!link.arp) set('arp', 'arp', 'off');
  if (link.promisc) set('promisc', 'promisc', 'on');
  if (link.allmulti) set('allmulti', 'allmulticast', 'on');
  // before addresses: a VRF takes them away when it takes the interface
  if (link.master !== undefined) set('master', 'master', link.master.name);
  if (link.alias !== undefined && link.alias !== '') {
    // free text, which no batch takes: where it does not part what belongs together
    const argv = ['link', 'set', 'dev', options.later ?? dev, 'alias', link.alias];
    drafts.push(draft('rest', 'ip', argv, [key('alias')]));
  }
  return drafts;
}

/** What `ip link` knows of IPv6: the mode of address generation (where no sysctl says it) and the token. */
export function ipv6LinkDrafts(shadow: NetShadow, preparing: string): Draft[] {
  const { link } = shadow;
  const drafts: Draft[] = [];
  const bySysctl = shadow.sysctls.some((s) => s.path === 'ipv6/conf/{dev}/addr_gen_mode');
  if (link.addrGenMode !== undefined && !bySysctl) {
    drafts.push(
      draft(
        'prepare',
        'ip',
        ['link', 'set', 'dev', preparing, 'addrgenmode', link.addrGenMode],
        [linkKey('addrGenMode')],
      ),
    );
  }
  if (link.ipv6Token !== undefined && link.ipv6Token !== '::') {
    drafts.push(
      draft('rest', 'ip', ['token', 'set', link.ipv6Token, 'dev', link.name], [linkKey('ipv6Token')]),
    );
  }
  return drafts;
}

/** Further names, taken from the interface that had them. */
export function altnameDrafts(shadow: NetShadow, from?: string): Draft[] {
  return (shadow.link.altnames ?? []).flatMap((name) => {
    const property = (verb: string, dev: string, key: string[]) =>
      draft('rest', 'ip', ['link', 'property', verb, 'dev', dev, 'altname', name], key);
    return [
      ...(from === undefined ? [] : [property('del', from, [])]),
      property('add', shadow.link.name, [linkKey('altnames')]),
    ];
  });
}

/** Administrator's multicast memberships of the interface that carries the addresses. */
export function multicastDrafts(shadow: NetShadow): Draft[] {
  const dev = shadow.link.name;
  return shadow.multicast
    .filter((m) => m.static && m.family === 'link')
    .map((m) => draft('rest', 'ip', ['maddress', 'add', m.address, 'dev', dev], [multicastKey(m)]));
}
