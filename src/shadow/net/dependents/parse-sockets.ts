/** Sockets that are bound to an interface's index, and groups that programs joined on it. Pure. */
import type { Report } from '../capture-text.ts';
import type { Dependent, NetShadow } from '../model.ts';

/** `users:(("dhclient",pid=5,fd=6),("dhclient",pid=5,fd=7))`: each name once. */
function ownerOf(words: string): Pick<Dependent, 'owner'> {
  const names = [...words.matchAll(/\("((?:[^"\\]|\\.)*)",pid=\d+/g)].map(([, name = '']) => name);
  return names.length === 0 ? {} : { owner: [...new Set(names)].toSorted().join(', ') };
}

/** Addresses that say nothing about whom one talks to. */
const ANYBODY = /^(\*|0\.0\.0\.0:\*|\*:\*|\[::\]:\*)$/;

/**
 * Lines of `ss -H -n -a -p -A inet,packet`: those of the interfaces. A socket that talks by a link-local address is bound
 * to an index too.
 */
export function socketsOf(
  lines: readonly string[],
  interfaces: ReadonlySet<string>,
  report: Report,
): Dependent[] {
  const found: Dependent[] = [];
  for (const line of lines) {
    if (line.trim() === '') continue;
    const [type = '', , , , local = '', peer = ''] = line.trim().split(/\s+/);
    const owner = ownerOf(line);
    if (/^p_/.test(type)) {
      const [, protocol = '', on = ''] = /^(.*):([^:]+)$/.exec(local) ?? [];
      if (interfaces.has(on))
        found.push({ kind: 'packet-socket', on, what: `${type} ${protocol}`, ...owner });
      continue;
    }
    // `0.0.0.0%eth0:68`, `[fe80::1]%eth0:22`
    const [, before = '', on = '', after = ''] = /^(.*)%([^%:\]]+)(\]?:\S+)$/.exec(local) ?? [];
    if (on === '') {
      if (!local.includes('%') && !peer.includes('%')) report('sockets', line);
    } else if (interfaces.has(on)) {
      const other = ANYBODY.test(peer) ? '' : ` to ${peer.replaceAll(`%${on}`, '')}`;
      found.push({ kind: 'socket', on, what: `${type} ${before}${after}${other}`, ...owner });
    }
  }
  return found;
}

/** Groups that every interface is in, or every one that forwards. */
const OF_KERNEL = /^(224\.0\.0\.1|ff0[12]::1|ff0[125]::2|ff02::6a|ff02::1:ff[0-9a-f:]+)$/;

/** Groups that some program joined: not the kernel's own, not a VXLAN's, not those that come with an address. */
export function membershipsOf(
  shadow: Pick<NetShadow, 'link' | 'multicast' | 'addresses' | 'uppers'>,
): Dependent[] {
  const uppers = shadow.uppers ?? [];
  const own = new Set(
    uppers.flatMap(({ kind, args }) => {
      const at = kind === 'vxlan' ? args.indexOf('group') : -1;
      return at < 0 ? [] : [args[at + 1]];
    }),
  );
  return [shadow, ...uppers].flatMap(({ link, multicast, addresses }) =>
    multicast
      .filter(({ family, address }) => family !== 'link' && !OF_KERNEL.test(address) && !own.has(address))
      .filter(
        ({ address }) =>
          !addresses.some(({ local, flags }) => local === address && flags.includes('autojoin')),
      )
      .map(({ address }): Dependent => ({ kind: 'multicast', on: link.name, what: address })),
  );
}
