/**
 * A program in the guest that writes to a disk and looks whether what it wrote is there: blocks of 4 KiB, each with its
 * place and a number, past the guest's cache, told as written only when the disk says so.
 */
import { readFileSync } from 'node:fs';
import type { RunningVm } from '../../src/migration/vm.ts';
import { inGuest } from './migrating.ts';

const BLOCK = 4096;
/** The writer goes over so many blocks from the start of the disk, in a scattered order. */
const BLOCKS = 4096;

const WRITER = `
dev=$1
dir=/run/writer/$2
mkdir -p "$dir"
cat >"$dir/program" <<'PROGRAM'
dev=$1
cd "$2" || exit 1
n=0
slowest=0
until [ -e stop ]; do
  n=$((n + 1))
  at=$((n * 1021 % ${BLOCKS}))
  printf '%-${BLOCK}s' "block $at number $n" >block
  read -r before _ </proc/uptime
  if dd if=block of="$dev" bs=${BLOCK} seek=$at count=1 oflag=direct conv=notrunc,fsync 2>error; then
    read -r now _ </proc/uptime
    took=$(( \${now%.*}\${now#*.} - \${before%.*}\${before#*.} ))
    [ $took -le $slowest ] || { slowest=$took; echo $slowest >slowest; }
    echo "$n $at" >>written
  else
    echo "write $n: $(cat error)" >>wrong
  fi
  # one that was written a while ago
  [ $n -gt 8 ] || continue
  old=$((n - 8))
  at=$((old * 1021 % ${BLOCKS}))
  printf '%-${BLOCK}s' "block $at number $old" >expected
  if dd if="$dev" of=found bs=${BLOCK} skip=$at count=1 iflag=direct 2>error; then
    cmp -s expected found || echo "stale: block $at has $(head -c 40 found), not number $old" >>wrong
  else
    echo "read $old: $(cat error)" >>wrong
  fi
done
echo ended >ended
PROGRAM
setsid sh "$dir/program" "$dev" "$dir" >/dev/null 2>&1 </dev/null &
`;

const STOP = `
cd "/run/writer/$1" || exit 1
touch stop
until [ -e ended ]; do sleep 0.05; done
echo "slowest $(cat slowest)"
[ ! -e wrong ] || sed 's/^/wrong /' wrong
sed 's/^/written /' written
cd /
rm -r "/run/writer/$1"
`;

export interface Written {
  /** Writes that the disk acknowledged: the number that each block had last. */
  blocks: ReadonlyMap<number, number>;
  count: number;
  /** Errors and stale reads. */
  wrong: string[];
  /** Longest time from a write's begin to its acknowledgement, ms; the guest's clock ticks by 10. */
  slowestMs: number;
}

/** Begins to write to a disk of the guest, over all that is on it. */
export async function startWriter(vm: RunningVm, device: string, name: string): Promise<void> {
  await inGuest(vm, WRITER, [device, name]);
}

export async function writtenSoFar(vm: RunningVm, name: string): Promise<number> {
  return Number((await inGuest(vm, 'wc -l <"/run/writer/$1/written"', [name])).trim());
}

export async function stopWriter(vm: RunningVm, name: string): Promise<Written> {
  const lines = (await inGuest(vm, STOP, [name])).trim().split('\n');
  const of = (word: string) =>
    lines.flatMap((line) => (line.startsWith(`${word} `) ? [line.slice(word.length + 1)] : []));
  const written = of('written').map((line) => line.split(' ').map(Number));
  return {
    blocks: new Map(written.map(([n = 0, at = 0]) => [at, n])),
    count: written.length,
    wrong: of('wrong'),
    slowestMs: Number(of('slowest')[0]) * 10,
  };
}

/** Acknowledged writes that are not in a raw image, a line each. */
export function missingIn(image: string, { blocks }: Written): string[] {
  const content = readFileSync(image).subarray(0, BLOCKS * BLOCK);
  return [...blocks].flatMap(([at, n]) => {
    const found = content.toString('latin1', at * BLOCK, (at + 1) * BLOCK).trimEnd();
    return found === `block ${at} number ${n}` ? [] : [`block ${at}: "${found.slice(0, 40)}", not ${n}`];
  });
}
