import { parseArgs } from 'node:util';
import { BulkIn, BulkOut } from './bulk.ts';
import { runProbe, tell, tellSamples, untilStopped, watchLateness } from './child.ts';
import { Buckets } from './meters.ts';
import { untilReachable } from './reachable.ts';
import { Idle, RequestResponse } from './talk.ts';

/**
 * A process: the four connections that a migration must not lose. Arguments: --target ADDRESS, the ports, --every-ms N
 * --sample-ms N --bulk-rate BYTES-PER-SECOND --finish-ms N
 */

const LATENESS_TICK_MS = 20;
const BYTES_IN = 0;
const BYTES_OUT = 1;

async function within(ms: number, opening: Promise<unknown>): Promise<void> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`not all connections opened within ${ms} ms`)), ms);
  await Promise.race([opening, late]);
  clearTimeout(timer);
}

await runProbe(async () => {
  const { values } = parseArgs({
    options: {
      target: { type: 'string', default: '' },
      'echo-port': { type: 'string', default: '7' },
      'digest-port': { type: 'string', default: '9' },
      'source-port': { type: 'string', default: '19' },
      'every-ms': { type: 'string', default: '10' },
      'sample-ms': { type: 'string', default: '20' },
      'bulk-rate': { type: 'string', default: '2000000' },
      'ready-ms': { type: 'string', default: '10000' },
      'finish-ms': { type: 'string', default: '15000' },
    },
  });
  const stopped = untilStopped();
  const buckets = new Buckets(Number(values['sample-ms']), 2);
  const flush = tellSamples(buckets);
  const at = (port: string) => ({ host: values.target, port: Number(port) });
  const rate = Number(values['bulk-rate']);
  await untilReachable(at(values['echo-port']), Number(values['ready-ms']));
  const connections = [
    new BulkIn(
      at(values['digest-port']),
      { bytesPerSecond: rate, everyMs: Number(values['every-ms']) },
      (now, bytes) => buckets.add(now, BYTES_IN, bytes),
    ),
    new BulkOut(at(values['source-port']), rate, (now, bytes) => buckets.add(now, BYTES_OUT, bytes)),
    new Idle(at(values['echo-port'])),
    new RequestResponse(at(values['echo-port'])),
  ];
  await within(Number(values['ready-ms']), Promise.all(connections.map(({ opened }) => opened)));
  const lateness = watchLateness(LATENESS_TICK_MS);
  tell({ type: 'ready' });
  await stopped;
  const results = await Promise.all(
    connections.map((connection) => connection.finish(Number(values['finish-ms']))),
  );
  flush();
  tell({ type: 'result', lateMs: lateness(), connections: results });
});
