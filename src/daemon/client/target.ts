/** Which daemon is asked, and as whom. */
export interface Target {
  /** Path of a Unix socket, or `https://host:port`. */
  address: string;
  token?: string | undefined;
  /** PEM texts. */
  certificate?: string | undefined;
  key?: string | undefined;
  ca?: string | undefined;
}
