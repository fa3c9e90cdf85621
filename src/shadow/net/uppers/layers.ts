/** An upper interface seen as what it is: an interface with the layers of the device, but for hardware and driver. Pure. */
import type { NetShadow, Upper } from '../model.ts';

/** A shadow of the upper interface alone: what plans and compares the device's layers does the same for its. */
export function asShadow(upper: Upper): NetShadow {
  const { link, addresses, routes, neighbours, qdiscs, multicast, sysctls } = upper;
  return {
    schema: 1,
    standIn: { kind: 'none' },
    link,
    addresses,
    routes,
    rules: [], // they name interfaces by name, and outlive them
    neighbours,
    qdiscs,
    multicast,
    sysctls,
    unknown: [],
  };
}
