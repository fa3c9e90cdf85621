/** TCP services every lab guest offers, on any address, IPv4 and IPv6. */
export const GUEST_SERVICES = {
  /** Sends back every byte it receives. */
  echo: 7,
  /** Reads until the peer half-closes, then answers `<sha256 hex> <bytes>\n` of all it received. */
  sink: 9,
  /** Sends the repeating pattern of {@link patternBlock} until the peer goes away. */
  source: 19,
  /** iperf3 in server mode. */
  iperf3: 5201,
} as const;

/** Bytes after which the pattern of the source service repeats. */
export const PATTERN_SIZE = 65536;

/** Byte of the source service at stream position `position` (bytes from the start, any size). */
export function patternByte(position: number): number {
  const i = position % PATTERN_SIZE;
  return (i * 7 + (i >> 8) * 13) & 255;
}

/** One full period of the source service's stream. */
export function patternBlock(): Uint8Array {
  return Uint8Array.from({ length: PATTERN_SIZE }, (_, i) => patternByte(i));
}

/** What the guest prints on its serial console, on a line of its own, when all services listen. */
export const READY_LINE = 'shadowferry-guest: ready';

/** Name of the QEMU fw_cfg file whose text the guest runs as a shell script at boot, before the services start. */
export const SETUP_FW_CFG = 'opt/org.shadowferry/setup';

/** Name of the virtio-serial port on which the guest agent listens. */
export const AGENT_PORT = 'org.qemu.guest_agent.0';
