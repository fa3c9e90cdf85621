/** Packages from the machine's own apt sources, or from given ones, without installing any and without rights. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { exec } from '../../base/exec.ts';
import { ShadowferryError } from '../../errors.ts';
import { type PackageVersion, parseSimulation } from './resolve.ts';

export interface AptOptions {
  /** Directory of this process's own package lists, used where the machine has none or old ones. */
  ownLists: string;
  /** Instead of the machine's sources: a file in the format of sources.list, and the release that its packages come from. */
  sources?: { file: string; release: string };
  log: (line: string) => void;
  signal: AbortSignal | undefined;
}

const INSTALL = 'Run this on a Debian or Ubuntu machine, as root: apt-get install apt dpkg';

/** Options that keep apt off the machine's state: nothing counts as installed, no lock, no user change. */
const DETACHED = [
  '-o',
  'Dir::State::status=/dev/null',
  '-o',
  'Debug::NoLocking=1',
  '-o',
  'APT::Sandbox::User=',
  '-o',
  'APT::Get::AllowUnauthenticated=false',
];

function listOptions(lists: string | undefined): string[] {
  return lists === undefined ? [] : ['-o', `Dir::State::Lists=${lists}`, '-o', 'Dir::Cache::pkgcache='];
}

function sourceOptions({ sources }: AptOptions): string[] {
  if (sources === undefined) return [];
  const { file, release } = sources;
  return [
    ...['-o', `Dir::Etc::SourceList=${file}`, '-o', 'Dir::Etc::SourceParts=/dev/null'],
    ...['-o', `APT::Default-Release=${release}`, '-o', 'Acquire::Languages=none'],
  ];
}

async function apt(args: readonly string[], options: AptOptions, cwd?: string): Promise<string> {
  try {
    const result = await exec(['apt-get', ...DETACHED, ...sourceOptions(options), ...args], {
      env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
      ...(cwd === undefined ? {} : { cwd }),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    return result.stdout;
  } catch (error) {
    if (error instanceof ShadowferryError && error.code === 'TOOL_MISSING') {
      throw new ShadowferryError('TOOL_MISSING', { tool: 'apt-get', install: INSTALL }, { cause: error });
    }
    throw error;
  }
}

function simulate(packages: readonly string[], lists: string | undefined, options: AptOptions) {
  const args = ['--simulate', '--no-install-recommends', ...listOptions(lists), 'install', ...packages];
  return apt(args, options).then(parseSimulation);
}

/** Fetches the lists of the sources into a directory of ours; what fails shows when they are used. */
async function refreshOwnLists(options: AptOptions): Promise<void> {
  if (options.sources === undefined)
    options.log("the machine's package lists are missing or old: fetching lists for the image alone");
  await mkdir(join(options.ownLists, 'partial'), { recursive: true });
  await apt([...listOptions(options.ownLists), 'update'], options);
}

/**
 * Downloads the packages that `choose` keeps of the dependency closure of `packages` into `directory` (emptied
 * first), each checked by apt against its signed list.
 * @throws ShadowferryError TOOL_MISSING without apt, or where the machine's sources do not give the packages.
 */
export async function downloadPackages(
  packages: readonly string[],
  choose: (closure: readonly PackageVersion[]) => PackageVersion[],
  directory: string,
  options: AptOptions,
): Promise<PackageVersion[]> {
  const attempt = async (lists: string | undefined): Promise<PackageVersion[]> => {
    const chosen = choose(await simulate(packages, lists, options));
    options.log(`downloading ${chosen.length} packages`);
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory, { recursive: true });
    const exact = chosen.map(({ name, version }) => `${name}=${version}`);
    await apt([...listOptions(lists), 'download', ...exact], options, directory);
    return chosen;
  };
  const fresh = async () => {
    await refreshOwnLists(options);
    return attempt(options.ownLists);
  };
  try {
    // the machine's lists are of its own sources
    return options.sources === undefined ? await attempt(undefined) : await fresh();
  } catch (error) {
    if (!isRefusal(error)) throw error;
    if (options.sources !== undefined) throw packagesMissing(error);
    // No lists ("Unable to locate") and old lists (404) look the same from here: both are cured by fresh ones.
    try {
      return await fresh();
    } catch (again) {
      if (!isRefusal(again)) throw again;
      throw packagesMissing(error);
    }
  }
}

function isRefusal(error: unknown): error is ShadowferryError {
  return error instanceof ShadowferryError && error.code === 'COMMAND_FAILED';
}

function packagesMissing(error: ShadowferryError): ShadowferryError {
  const said = String(error.params.stderr).split('\n').slice(0, 2).join(' ');
  return new ShadowferryError(
    'TOOL_MISSING',
    {
      tool: 'a Debian package of the lab',
      install: `Check apt's sources and the network, run "sudo apt-get update" and try again. apt said: ${said}`,
    },
    { cause: error },
  );
}
