/** Where this machine gets Debian from: the guest of the lab comes from the same place. */
import { exec } from '../../../base/exec.ts';
import { ShadowferryError } from '../../../errors.ts';
import type { Suite } from './recipe.ts';

/** A place that apt has in its sources. */
interface Target {
  uri: string;
  release: string;
  component: string;
}

/** Parses `apt-get indextargets` in the format that {@link debianSources} asks for. */
export function parseTargets(text: string): Target[] {
  return text.split('\n').flatMap((line) => {
    const [uri, release, component] = line.split('\t');
    return uri && release && component ? [{ uri, release, component }] : [];
  });
}

function mainTarget(targets: readonly Target[]): Target | undefined {
  return targets.find(
    ({ uri, release, component }) =>
      component === 'main' && /\/debian\/?$/.test(uri) && !/-(security|updates)$/.test(release),
  );
}

/**
 * The sources.list of a release, from the places of this machine's own: the archive, and the security archive where
 * the machine has one. Undefined when it has no Debian archive.
 */
export function sourcesFor(suite: Suite, targets: readonly Target[]): string | undefined {
  const known = targets.filter(({ component }) => component === 'main');
  const main = mainTarget(known);
  if (main === undefined) return undefined;
  const security = known.find(({ uri, release }) => /-security\/?$/.test(uri) && /-security$/.test(release));
  const lines = [`deb ${main.uri} ${suite} main`];
  if (security !== undefined) lines.push(`deb ${security.uri} ${suite}-security main`);
  return `${lines.join('\n')}\n`;
}

async function targetsOfMachine(signal: AbortSignal | undefined): Promise<Target[]> {
  const format = '$(REPO_URI)\t$(RELEASE)\t$(COMPONENT)';
  const { stdout } = await exec(
    ['apt-get', 'indextargets', '--format', format, 'Created-By: Packages'],
    signal === undefined ? {} : { signal },
  );
  return parseTargets(stdout);
}

function archiveMissing(what: string): ShadowferryError {
  return new ShadowferryError('TOOL_MISSING', {
    tool: 'a Debian archive',
    install: `${what} from the Debian archive in apt's sources; add one there.`,
  });
}

/**
 * The sources.list of a release, as apt of this machine would have it.
 * @throws ShadowferryError TOOL_MISSING where apt or a Debian archive in its sources is missing.
 */
export async function debianSources(suite: Suite, signal: AbortSignal | undefined): Promise<string> {
  const sources = sourcesFor(suite, await targetsOfMachine(signal));
  if (sources === undefined) throw archiveMissing('The distribution guests are built');
  return sources;
}

/**
 * The address of the Debian archive that this machine uses, which holds the backports too.
 * @throws ShadowferryError TOOL_MISSING where apt or a Debian archive in its sources is missing.
 */
export async function archiveOf(signal: AbortSignal | undefined): Promise<string> {
  const main = mainTarget(await targetsOfMachine(signal));
  if (main === undefined) throw archiveMissing('Other versions of QEMU come');
  return main.uri;
}
