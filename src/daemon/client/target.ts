/** Which daemon is asked, and as whom. */
import type { Agent } from 'node:https';

export interface Target {
  /** Path of a Unix socket, or `https://host:port`. */
  address: string;
  token?: string | undefined;
  /** PEM texts. */
  certificate?: string | undefined;
  key?: string | undefined;
  ca?: string | undefined;
  /** Keeps connections, and says who the other side must be; in the place of the three above. */
  agent?: Agent | undefined;
}
