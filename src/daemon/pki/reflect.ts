/**
 * The certificate library finds its parts by the metadata functions that `reflect-metadata` adds to `Reflect`, and
 * needs three of them and the decorator. Import this before it. What is there already is left alone.
 */
type Metadata = Map<unknown, unknown>;

const kept = new WeakMap<object, Metadata>();

function own(key: unknown, target: object): unknown {
  return kept.get(target)?.get(key);
}

function define(key: unknown, value: unknown, target: object): void {
  const metadata = kept.get(target) ?? new Map();
  kept.set(target, metadata.set(key, value));
}

/** The metadata of an object, or of what it inherits from. */
function get(key: unknown, target: object): unknown {
  for (let at: object | null = target; at !== null; at = Object.getPrototypeOf(at)) {
    if (kept.get(at)?.has(key)) return own(key, at);
  }
  return undefined;
}

const decorate = (key: unknown, value: unknown) => (target: object) => define(key, value, target);

for (const [name, value] of Object.entries({
  getMetadata: get,
  getOwnMetadata: own,
  defineMetadata: define,
  metadata: decorate,
})) {
  if (!(name in Reflect)) Object.defineProperty(Reflect, name, { value, configurable: true, writable: true });
}
