/** A dependent as an attribute's value. Pure. */
import type { Dependent } from '../model.ts';

/** Whose it is. */
export const dependentValue = ({ owner }: Dependent): string => owner ?? 'there';
