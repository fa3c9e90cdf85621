/** A device model with options, as a host names it: `virtio-net-pci,queues=4,rss=on`. Pure. */

export interface DeviceModel {
  /** QEMU's name of the model. */
  driver: string;
  /** Properties of the device, as `-device` takes them. */
  properties: Readonly<Record<string, string>>;
  /** Pairs of queues of its back end. */
  queues: number;
}

/** One vector for each queue of each direction, one for the configuration and one to spare. */
const vectorsFor = (queues: number): number => queues * 2 + 2;

/**
 * Takes a model apart. `queues=N` is the back end's: the device gets `mq=on` and vectors enough for it. Every other
 * option is passed on to the device; what QEMU does not know it refuses by itself.
 */
export function deviceModel(model: string): DeviceModel {
  const [driver = '', ...options] = model.split(',');
  const given = options.map((option): [string, string] => {
    const at = option.indexOf('=');
    return at < 0 ? [option, 'on'] : [option.slice(0, at), option.slice(at + 1)];
  });
  const wanted = given.find(([name]) => name === 'queues')?.[1] ?? '1';
  const queues = /^[1-9]\d{0,2}$/.test(wanted) ? Number(wanted) : 1;
  const own = queues === 1 ? [] : [['mq', 'on'] as const, ['vectors', String(vectorsFor(queues))] as const];
  const properties = Object.fromEntries([
    ...own,
    ...given.filter(([name]) => name !== 'queues' || (queues === 1 && wanted !== '1')),
  ]);
  return { driver, properties, queues };
}

/** QEMU's option syntax: `DRIVER,key=value,…`, with commas inside values doubled. */
export function deviceArgument(driver: string, properties: Readonly<Record<string, string>>): string {
  const double = (text: string) => text.replaceAll(',', ',,');
  return [double(driver), ...Object.entries(properties).map(([key, v]) => `${key}=${double(v)}`)].join(',');
}
