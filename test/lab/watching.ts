/** What the tests of `shadow watch` and its kin share: lines of the watch, and what the store says. */
import { z } from 'zod';
import { objects, runCli } from './cli-process.ts';

/** An emulated guest on a loaded machine; nothing waits so long that works. */
export const LIMIT = { timeout: 120_000 };

export const Changed = z.object({
  type: z.literal('changed'),
  seq: z.number(),
  changes: z.array(z.object({ key: z.string() })),
});
const Versions = z.object({
  nics: z.tuple([
    z.object({
      versions: z.array(
        z.object({ seq: z.number(), label: z.string(), by: z.string(), changes: Changed.shape.changes }),
      ),
    }),
  ]),
});

/** Lines of a watch with `--json`, by their type. */
export const isType = (type: string) => (line: string) => line.includes(`"type":"${type}"`);

/** Lines that tell a change of an attribute. */
export const changedKey = (key: string) => (line: string) =>
  isType('changed')(line) && line.includes(`"${key}"`);

/** The versions of the one NIC of the lab's VM. */
export async function historyIn(state: string) {
  const [line] = objects(await runCli(state, ['shadow', 'history', 'web1', '--json']));
  return Versions.parse(line).nics[0].versions;
}
