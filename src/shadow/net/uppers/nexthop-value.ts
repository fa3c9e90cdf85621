/** A nexthop object as an attribute's value. Pure. */
import type { Nexthop } from '../model.ts';

/** Its arguments, free of the interface's name. */
export const nexthopValue = ({ args, dev }: Nexthop, name: string): string =>
  args
    .map((word, at) => (args[at - 1] === 'dev' && word === dev && word === name ? '{dev}' : word))
    .join(' ');
