import { createHash } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { patternBlock } from './content.ts';

/**
 * A process that stands in for the guest's services in tests, and misbehaves when told. Arguments: --echo, --digest,
 * --source PORT (0 for any). Prints {"echo":N,"digest":N,"source":N} when it listens. Commands on standard input:
 * "stall MS" (answer nothing for that time), "corrupt" (one wrong byte on each connection), "swap" (exchange the next
 * two records of each echo stream), "drop" (reset all connections). Ends when standard input does.
 */

const RECORD_BYTES = 64;
/** So many single records one after the other make an echo stream. */
const STREAM_RECORDS = 5;

const sockets = new Set<Socket>();
const corrupting = new Set<Socket>();
const swapping = new Set<Socket>();
let stalled = false;

/** Returns `data`, with its last byte changed where that was asked for. */
function spoil(socket: Socket, data: Buffer): Buffer {
  if (!corrupting.delete(socket)) return data;
  const wrong = Buffer.from(data);
  wrong.writeUInt8((wrong.at(-1) ?? 0) ^ 1, wrong.length - 1);
  return wrong;
}

function echo(socket: Socket): void {
  let held: Buffer | undefined;
  let records = 0;
  socket.on('data', (data) => {
    records = data.length === RECORD_BYTES ? records + 1 : 0;
    if (held) {
      socket.write(Buffer.concat([data.subarray(0, RECORD_BYTES), held, data.subarray(RECORD_BYTES)]));
      held = undefined;
      // Only a stream of records goes on without an answer to the one that is held.
    } else if (records > STREAM_RECORDS && swapping.delete(socket)) held = data;
    else socket.write(spoil(socket, data));
  });
  socket.on('end', () => socket.end());
}

function digest(socket: Socket): void {
  const hash = createHash('sha256');
  let bytes = 0;
  socket.on('data', (data) => {
    hash.update(spoil(socket, data));
    bytes += data.length;
  });
  socket.on('end', () => socket.end(`${hash.digest('hex')} ${bytes}\n`));
}

const block = patternBlock();

function source(socket: Socket): void {
  const send = () => {
    while (!stalled && !socket.destroyed && socket.write(spoil(socket, block)));
  };
  socket.on('drain', send);
  socket.on('resume', send);
  socket.on('end', () => socket.destroy());
  socket.resume();
  send();
}

function listen(serve: (socket: Socket) => void, port: number): Promise<number> {
  const server: Server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: false });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
    serve(socket);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, () => {
      const address = server.address();
      resolve(typeof address === 'object' && address ? address.port : port);
    });
  });
}

function obey(line: string): void {
  const [command, argument] = line.split(' ');
  if (command === 'stall') {
    stalled = true;
    for (const socket of sockets) socket.pause();
    setTimeout(() => {
      stalled = false;
      for (const socket of sockets) socket.resume();
    }, Number(argument));
  }
  if (command === 'corrupt') for (const socket of sockets) corrupting.add(socket);
  if (command === 'swap') for (const socket of sockets) swapping.add(socket);
  if (command === 'drop') for (const socket of sockets) socket.resetAndDestroy();
}

const { values } = parseArgs({
  options: {
    echo: { type: 'string', default: '0' },
    digest: { type: 'string', default: '0' },
    source: { type: 'string', default: '0' },
  },
});
const ports = {
  echo: await listen(echo, Number(values.echo)),
  digest: await listen(digest, Number(values.digest)),
  source: await listen(source, Number(values.source)),
};
const commands = createInterface({ input: process.stdin });
commands.on('line', obey);
commands.on('close', () => process.exit(0));
process.stdout.write(`${JSON.stringify(ports)}\n`);
