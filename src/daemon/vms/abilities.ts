/** What can be done with a VM that was adopted, and why not what cannot. Pure. */
import type { Learned } from '../../hypervisor/qemu/learn.ts';
import { directNics, type VmSpec } from '../../hypervisor/qemu/spec.ts';
import type { Ability } from './adopted.ts';

/** So many differences are named; of more their number is. */
const NAMED = 4;

export interface Facts {
  learned: Learned;
  spec: VmSpec;
  /** What differs from a VM that is started here. */
  differences: readonly string[];
  /** The file of its serial console. */
  serial: string | undefined;
  /** Whether its guest's agent answered. */
  agent: boolean;
}

function inWords(differences: readonly string[]): string {
  const more = differences.length - NAMED;
  return `${differences.slice(0, NAMED).join('; ')}${more > 0 ? `; and ${more} more` : ''}`;
}

function guestAbility({ learned, spec, agent, differences }: Facts): Pick<Ability, 'can' | 'reason'> {
  const port = learned.ports.has('org.qemu.guest_agent.0');
  if (spec.guest.way !== 'agent' && spec.guest.ssh !== undefined)
    return { can: true, reason: agent ? 'its agent answers, and SSH was given' : 'by SSH' };
  if (!port)
    return {
      can: false,
      reason:
        'it has no port for a guest agent (org.qemu.guest_agent.0), and no SSH access was given ("guest")',
    };
  if (differences.length > 0) return { can: false, reason: inWords(differences) };
  return agent
    ? { can: true, reason: 'its agent answers' }
    : {
        can: false,
        reason:
          'its agent did not answer when it was adopted; as soon as qemu-guest-agent runs in the guest it is used',
      };
}

function bridgeAbility({ spec, differences }: Facts): Pick<Ability, 'can' | 'reason'> {
  if (differences.length > 0) return { can: false, reason: inWords(differences) };
  const direct = directNics(spec);
  if (direct.length === 0)
    return { can: true, reason: 'it has no direct device, so that nothing interrupts its traffic' };
  const without = direct.filter(({ standby }) => standby === 'none').map(({ id }) => id);
  return without.length === 0
    ? { can: true, reason: 'each direct device has a standby, which carries its traffic while it is away' }
    : {
        can: false,
        reason: `${without.join(', ')} ${without.length === 1 ? 'has' : 'have'} no standby: traffic stands still while the device is away, and continuity is "hold" or "replay"; a standby is built in at a start`,
      };
}

/** Each thing that one does with VMs, in the order in which it is shown. */
export function abilitiesOf(facts: Facts): Ability[] {
  const { spec, differences, serial, learned } = facts;
  const whole = differences.length === 0;
  const guest = guestAbility(facts);
  const direct = directNics(spec).length > 0;
  const whyNot = inWords(differences);
  const inside = (reason: string, needsDirect: boolean): Pick<Ability, 'can' | 'reason'> => {
    if (!whole) return { can: false, reason: whyNot };
    if (needsDirect && !direct) return { can: false, reason: 'it has no direct device' };
    // the agent may come yet, so that nothing is refused for it
    return guest.can ? { can: true, reason } : { can: true, reason: `${reason}; but ${guest.reason}` };
  };
  const boots = learned.boot.kernel !== '' || spec.disks.length > 0;
  const start = !whole
    ? { can: false, reason: whyNot }
    : boots
      ? {
          can: true,
          reason: 'once it is stopped, it is started as it is here; firmware files are those that were given',
        }
      : { can: false, reason: 'QEMU was given neither a kernel nor a disk that is known here' };
  return [
    { what: 'watch', can: true, reason: 'its monitor answers' },
    { what: 'pause', can: true, reason: 'by its monitor' },
    { what: 'stop', can: true, reason: 'by ACPI, and by its monitor' },
    { what: 'start', ...start },
    {
      what: 'console',
      ...(serial === undefined
        ? { can: false, reason: 'its serial console is no file that its command line names' }
        : { can: true, reason: `it is ${serial}` }),
    },
    { what: 'guest', ...guest },
    { what: 'shadow', ...inside('its devices can be captured', true) },
    { what: 'swap', ...inside('it is built as the VMs that are started here', true) },
    { what: 'migrate', ...inside('it is built as the VMs that are started here', false) },
    { what: 'bridge', ...bridgeAbility(facts) },
  ];
}
