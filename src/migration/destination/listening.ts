/** Where a QEMU that waits for a stream takes it. */
import { z } from 'zod';
import { urlHost } from '../../base/url-host.ts';
import { ShadowferryError } from '../../errors.ts';
import type { RunningVm } from '../vm.ts';

const Listening = z.object({
  'socket-address': z.array(z.object({ type: z.literal('inet'), host: z.string(), port: z.string() })).min(1),
});

/** Where a QEMU takes a stream: the newest address, as it says. */
export async function listeningAt({ qemu: { monitor } }: RunningVm, signal: AbortSignal): Promise<string> {
  const info = await monitor.execute('query-migrate', undefined, { schema: Listening, signal });
  const address = info['socket-address'][0];
  if (address === undefined) throw new ShadowferryError('INTERNAL', { why: 'QEMU listens nowhere' });
  return `tcp:${urlHost(address.host)}:${address.port}`;
}
