/** Structured logs: one JSON object a line on standard output. Secrets have no place in them. */
import { type DestinationStream, type Logger, pino } from 'pino';

const SECRET = ['authorization', 'token', 'secret', 'key', 'password', 'cookie'];

/** Lines that wait for a reader of the log, bytes; more than that are lost, and the daemon lives. */
const WAITING_BYTES = 16 * 1024 * 1024;

/** @param to where lines go; standard output when left out: without waiting for it, and what waits is written at the end of the process */
export function makeLog(level: string, host: string, to?: DestinationStream): Logger {
  const options = {
    level,
    base: { host },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    // nothing logs them; should something ever do so, they are blotted out
    redact: {
      paths: SECRET.flatMap((name) => [name, `*.${name}`, `*.headers.${name}`]),
      censor: '[redacted]',
    },
    serializers: {
      err: (error: unknown) =>
        error instanceof Error
          ? { message: error.message, stack: error.stack, ...('code' in error ? { code: error.code } : {}) }
          : { message: String(error) },
    },
  };
  return pino(options, to ?? pino.destination({ sync: false, maxLength: WAITING_BYTES }));
}
