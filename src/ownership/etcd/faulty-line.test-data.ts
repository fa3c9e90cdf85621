/** A TCP proxy that does what networks do: delays, swallows, and lets the answer get lost when the work is done. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/**
 * What happens to a request: `lose-answer` carries it out and swallows what comes back; `hold` keeps it until
 * `release`, as a network may that delivers late.
 */
export type Fate = 'pass' | 'lose-request' | 'lose-answer' | 'hold';

export class FaultyLine {
  readonly port: number;
  /** Asked for each piece that a client sends. */
  fate: (piece: string) => Fate = () => 'pass';
  /** Each direction waits so long, ms. */
  delayMs = 0;
  /** Whether a connection from this port passes anything at all; asked for each piece, as cables are cut in use. */
  connected: (clientPort: number) => boolean = () => true;
  /** Told when an answer was lost. */
  onLost: () => void = () => {};
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #held: (() => Promise<string>)[] = [];

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  static async to(target: () => number): Promise<FaultyLine> {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    const proxy = new FaultyLine(server, address.port);
    server.on('connection', (client) => proxy.#join(client, target()));
    return proxy;
  }

  #join(client: Socket, port: number): void {
    const server = connect(port, '127.0.0.1');
    const from = client.remotePort ?? 0;
    let answers = true;
    const pass = (to: Socket, piece: Buffer) => {
      const write = () => this.connected(from) && to.writable && to.write(piece);
      if (this.delayMs === 0) write();
      else setTimeout(write, this.delayMs);
    };
    client.on('data', (piece) => {
      const fate = this.fate(piece.toString('latin1'));
      if (fate === 'lose-answer') answers = false;
      if (fate === 'hold') {
        answers = false;
        this.#held.push(async () => {
          const answer = once(server, 'data');
          pass(server, piece);
          return String((await answer)[0]);
        });
      } else if (fate !== 'lose-request') pass(server, piece);
    });
    server.on('data', (piece) => {
      if (answers) pass(client, piece);
      else this.onLost();
    });
    for (const [socket, peer] of [
      [client, server],
      [server, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => {}); // told by 'close'
      socket.once('close', () => {
        this.#sockets.delete(socket);
        // what a dead client has sent may still arrive
        if (this.#held.length === 0 && this.connected(from)) peer.destroy();
      });
    }
  }

  /** Delivers what was held, and gives what it was answered. */
  async release(): Promise<string[]> {
    const held = this.#held;
    this.#held = [];
    return Promise.all(held.map((deliver) => deliver()));
  }

  /** Ends all connections; new ones are possible. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}
