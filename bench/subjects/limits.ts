// What the engine can do at most on this machine: read memory, multiply and add. Measured by loops that do nothing else, in turn
// with the kernels that are held against them.
import type { Entrant } from '../contest.ts';
import { Arena, assemble } from './wat.ts';

const seq = <T>(n: number, make: (i: number) => T): T[] =>
  Array.from({ length: n }, (_, i) => make(i));
const vectors = (names: readonly string[]): string =>
  names.map((n) => `(local ${n} v128)`).join(' ');

/** Sums four far-apart quarters of [p, p + 4 q) at once: one stream alone is stopped at each page by the prefetcher. */
function readText(): string {
  const sums = seq(8, (i) => `$s${i}`);
  const line = seq(2, (half) =>
    seq(4, (s) => {
      const name = sums[4 * half + s];
      const at = s === 0 ? '(local.get $p)' : `(i32.add (local.get $p) (local.get $q${s}))`;
      return `(local.set ${name} (f32x4.add (local.get ${name}) (v128.load offset=${16 * half} ${at})))`;
    }).join('\n'),
  ).join('\n');
  const total = sums.map((s) => `(local.get ${s})`).reduce((a, b) => `(f32x4.add ${a} ${b})`);
  return `(func (export "read") (param $p i32) (param $q i32) (result f32)
    (local $end i32) (local $q1 i32) (local $q2 i32) (local $q3 i32) ${vectors(sums)}
    (local.set $end (i32.add (local.get $p) (local.get $q)))
    (local.set $q1 (local.get $q))
    (local.set $q2 (i32.shl (local.get $q) (i32.const 1)))
    (local.set $q3 (i32.mul (local.get $q) (i32.const 3)))
    (loop $next ${line}
      (br_if $next (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 32))) (local.get $end))))
    (f32x4.extract_lane 0 ${total}))`;
}

/** Twelve independent chains of one instruction. */
function peakText(op: (sum: string) => string): string {
  const sums = seq(12, (i) => `$s${i}`);
  const total = sums.map((s) => `(local.get ${s})`).reduce((a, b) => `(v128.xor ${a} ${b})`);
  return `(func (export "peak") (param $n i32) (param $c i32) (result i32) ${vectors([...sums, '$x', '$y'])}
    (local.set $x (i8x16.splat (local.get $c))) (local.set $y (i8x16.splat (local.get $c)))
    (loop $next ${sums.map((s) => `(local.set ${s} ${op(`(local.get ${s})`)})`).join('\n')}
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32x4.extract_lane 0 ${total}))`;
}

const moduleOf = (f: string): string => `(module (import "env" "memory" (memory 1 65536)) ${f})`;

/** Reading memory that no cache holds, `bytes` a call. */
export const readLimit = (coldBytes: number, bytes = 16 * 2 ** 20): Entrant => ({
  column: 'read',
  make: async () => {
    const copies = Math.max(2, Math.ceil(coldBytes / bytes));
    const arena = new Arena(copies * (bytes + 4096));
    const { read } = await assemble(moduleOf(readText()), arena);
    const places = seq(copies, () => {
      const at = arena.allocate(bytes);
      arena.f32(at, bytes / 4).fill(1e-9);
      return at;
    });
    return {
      what: 'four streams',
      copies,
      bytes,
      run: (copy) => void read!(places[copy]!, bytes / 4),
      dispose: () => {},
    };
  },
});

interface Peak {
  readonly what: string;
  /** Operations of one instruction: multiplications and additions. */
  readonly ops: number;
  /** Byte that the operands are filled with: a small number in the type of the instruction. */
  readonly fill: number;
  readonly code: (sum: string) => string;
}

const peaks = {
  dot: {
    what: 'i32x4.relaxed_dot_i8x16_i7x16_add_s',
    ops: 32,
    fill: 1,
    code: (s) => `(i32x4.relaxed_dot_i8x16_i7x16_add_s (local.get $x) (local.get $y) ${s})`,
  },
  madd: {
    what: 'f32x4.relaxed_madd',
    ops: 8,
    fill: 0x3c,
    code: (s) => `(f32x4.relaxed_madd ${s} (local.get $x) (local.get $y))`,
  },
} satisfies { [name: string]: Peak };

/** The most that one instruction can do, over and over on registers. */
export const peakLimit = (column: keyof typeof peaks): Entrant => ({
  column,
  make: async () => {
    const { what, ops, fill, code } = peaks[column];
    const { peak } = await assemble(moduleOf(peakText(code)), new Arena(0));
    const rounds = 200_000;
    return {
      what,
      copies: 1,
      ops: rounds * 12 * ops,
      run: () => void peak!(rounds, fill),
      dispose: () => {},
    };
  },
});
