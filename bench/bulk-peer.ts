/**
 * One bulk TCP connection to the guest, beside its peers: `bulk-peer.ts ADDRESS PORT in|out WARM_MS MS`. Prints one line
 * of JSON: the bytes that passed in the window after the warm-up, and how long that was. `in` is towards the guest.
 */
import { connect } from 'node:net';

const [address = '', port = '', direction = '', warm = '', length = ''] = process.argv.slice(2);
const socket = connect({ host: address, port: Number(port), noDelay: true });
const block = Buffer.alloc(64 * 1024, 'shadowferry');
let bytes = 0;

function send(): void {
  // the callback comes when the kernel has taken it, which it does as fast as the guest reads
  socket.write(block, (error) => {
    if (error) return;
    bytes += block.length;
    send();
  });
}

socket.on('error', (error) => {
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
});
socket.on('connect', () => {
  if (direction === 'in') {
    send();
    send();
  } else socket.on('data', (chunk) => (bytes += chunk.length));
  setTimeout(() => {
    const [start, before] = [performance.now(), bytes];
    process.stdout.write('measuring\n');
    setTimeout(() => {
      const ms = performance.now() - start;
      process.stdout.write(`${JSON.stringify({ bytes: bytes - before, ms })}\n`, () => process.exit(0));
    }, Number(length));
  }, Number(warm));
});
