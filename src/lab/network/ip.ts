import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { exec } from '../../base/exec.ts';
import { ShadowferryError } from '../../errors.ts';

const TUN_DEVICE = '/dev/net/tun';

/** What stands in the way of taps. */
export interface TunProblem {
  why: string;
  command: string;
}

/** Why this process cannot make taps, or undefined when it can open the file behind them. */
export async function tunProblem(): Promise<TunProblem | undefined> {
  try {
    await access(TUN_DEVICE, constants.R_OK | constants.W_OK);
    return undefined;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      return {
        why: `there is no ${TUN_DEVICE}`,
        command: 'Run "sudo modprobe tun"; in a container, give it the device /dev/net/tun.',
      };
    }
    return {
      why: `this user may not open ${TUN_DEVICE}, which most systems leave open to all`,
      command: `Run "sudo chmod 0666 ${TUN_DEVICE}", or run as root.`,
    };
  }
}

/**
 * Runs iproute2 commands, one a line, in one process: in `netns`, or in the caller's namespace without it.
 * @throws ShadowferryError RIGHTS_MISSING when the kernel does not permit them, else COMMAND_FAILED.
 */
export async function ipBatch(netns: string | undefined, lines: readonly string[]): Promise<void> {
  const result = await exec(['ip', ...(netns === undefined ? [] : ['-n', netns]), '-batch', '-'], {
    input: `${lines.join('\n')}\n`,
    allowFailure: true,
  });
  if (result.code === 0) return;
  const stderr = result.stderr.trim();
  if (/Operation not permitted|Permission denied/.test(stderr)) throw await rightsMissing(lines, stderr);
  const failed = lines[Number(/Command failed -:(\d+)/.exec(stderr)?.[1] ?? 0) - 1];
  throw new ShadowferryError('COMMAND_FAILED', {
    command: `ip${netns === undefined ? '' : ` -n ${netns}`} ${failed ?? '-batch'}`,
    code: result.code,
    stderr,
  });
}

async function rightsMissing(lines: readonly string[], stderr: string): Promise<ShadowferryError> {
  const tun = lines.some((line) => line.startsWith('tuntap')) ? await tunProblem() : undefined;
  if (tun) {
    return new ShadowferryError('RIGHTS_MISSING', {
      what: `making a tap (${tun.why})`,
      command: tun.command,
    });
  }
  return new ShadowferryError('RIGHTS_MISSING', {
    what: `building a lab network (${stderr.split('\n')[0]})`,
    command: 'Run as root, or in a container that has CAP_NET_ADMIN and CAP_SYS_ADMIN.',
  });
}
