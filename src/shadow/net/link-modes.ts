/** Link modes by the names that ethtool prints, as bits of what it takes (uapi `ethtool_link_mode_bit_indices`). Pure. */

const BITS: Readonly<Record<string, number>> = {
  '10baseT/Half': 0,
  '10baseT/Full': 1,
  '100baseT/Half': 2,
  '100baseT/Full': 3,
  '1000baseT/Half': 4,
  '1000baseT/Full': 5,
  '10000baseT/Full': 12,
  '2500baseX/Full': 15,
  '1000baseKX/Full': 17,
  '10000baseKX4/Full': 18,
  '10000baseKR/Full': 19,
  '10000baseR_FEC': 20,
  '20000baseMLD2/Full': 21,
  '20000baseKR2/Full': 22,
  '40000baseKR4/Full': 23,
  '40000baseCR4/Full': 24,
  '40000baseSR4/Full': 25,
  '40000baseLR4/Full': 26,
  '56000baseKR4/Full': 27,
  '56000baseCR4/Full': 28,
  '56000baseSR4/Full': 29,
  '56000baseLR4/Full': 30,
  '25000baseCR/Full': 31,
  '25000baseKR/Full': 32,
  '25000baseSR/Full': 33,
  '50000baseCR2/Full': 34,
  '50000baseKR2/Full': 35,
  '100000baseKR4/Full': 36,
  '100000baseSR4/Full': 37,
  '100000baseCR4/Full': 38,
  '100000baseLR4_ER4/Full': 39,
  '50000baseSR2/Full': 40,
  '1000baseX/Full': 41,
  '10000baseCR/Full': 42,
  '10000baseSR/Full': 43,
  '10000baseLR/Full': 44,
  '10000baseLRM/Full': 45,
  '10000baseER/Full': 46,
  '2500baseT/Full': 47,
  '5000baseT/Full': 48,
};

const hex = (bits: readonly number[]): string =>
  `0x${bits.reduce((sum, bit) => sum | (1n << BigInt(bit)), 0n).toString(16)}`;

/** The modes among those that are known here: whoever advertises another one cannot be told by a mask. */
export const knowsModes = (modes: readonly string[]): boolean => modes.every((mode) => mode in BITS);

/** `VALUE/MASK` for `ethtool -s DEV advertise`: these modes and no other; pause and the like are left alone. */
export function advertiseMask(modes: readonly string[]): string {
  return `${hex(modes.flatMap((mode) => BITS[mode] ?? []))}/${hex(Object.values(BITS))}`;
}
