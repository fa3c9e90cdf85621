import { ShadowferryError } from '../errors.ts';

const UNITS = 'KMGTP';

/** Bytes of `4096`, `512K`, `1.5G`, `10GiB`: units are powers of 1024. @throws INPUT_FIELD naming the field */
export function parseBytes(field: string): (text: string) => number {
  return (text) => {
    const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?)([KMGTP]?)(?:i?B)?$/.exec(text) ?? [];
    const power = unit === '' ? 0 : UNITS.indexOf(unit) + 1;
    const bytes = Number(number) * 1024 ** power;
    if (number !== '' && Number.isSafeInteger(bytes)) return bytes;
    const problem = `"${text}" is no size in bytes, such as 4096, 512K, 1.5G`;
    throw new ShadowferryError('INPUT_FIELD', { field, problem });
  };
}
