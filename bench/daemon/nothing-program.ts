/** A server that does nothing: SOCKET. What asking it costs a machine is not what a daemon costs. */
import { createServer } from 'node:http';

const [socketPath = ''] = process.argv.slice(2);
const server = createServer((_request, response) => {
  response.statusCode = 204;
  response.end();
});
server.listen(socketPath);
process.once('SIGTERM', () => server.close(() => process.exit(0)));
process.once('SIGTERM', () => server.closeAllConnections());
