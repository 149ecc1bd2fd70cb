// What the engine can do at most on this machine: read memory, multiply and add. Measured by loops that do nothing else, in turn
// with the kernels that are held against them.
import type { Entrant } from '../contest.ts';
import { Worker } from 'node:worker_threads';
import { Arena, assemble, instantiate, moduleFrom } from './wat.ts';

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

/** Copies four far-apart quarters of [p, p + 4 q) to as many at a distance of `d` bytes. */
function copyText(): string {
  const line = seq(4, (s) => {
    const from = s === 0 ? '(local.get $p)' : `(i32.add (local.get $p) (local.get $q${s}))`;
    const to = `(i32.add ${from} (local.get $d))`;
    return seq(2, (half) => {
      const at = `offset=${16 * half}`;
      return `(v128.store ${at} ${to} (v128.load ${at} ${from}))`;
    }).join('\n');
  }).join('\n');
  return `(func (export "copy") (param $p i32) (param $q i32) (param $d i32)
    (local $end i32) (local $q1 i32) (local $q2 i32) (local $q3 i32)
    (local.set $end (i32.add (local.get $p) (local.get $q)))
    (local.set $q1 (local.get $q))
    (local.set $q2 (i32.shl (local.get $q) (i32.const 1)))
    (local.set $q3 (i32.mul (local.get $q) (i32.const 3)))
    (loop $next ${line}
      (br_if $next (i32.lt_u (local.tee $p (i32.add (local.get $p) (i32.const 32))) (local.get $end)))))`;
}

/**
 * Copying memory that no cache holds into one place again and again, as a kernel with a result does; its bytes are those read and
 * those written.
 */
export const copyLimit = (coldBytes: number, bytes = 8 * 2 ** 20): Entrant => ({
  column: 'copy',
  make: async () => {
    const copies = Math.max(2, Math.ceil(coldBytes / bytes));
    const arena = new Arena((copies + 1) * (bytes + 4096));
    const { copy: move } = await assemble(moduleOf(copyText()), arena);
    const to = arena.allocate(bytes);
    const places = seq(copies, () => {
      const at = arena.allocate(bytes);
      arena.f32(at, bytes / 4).fill(1e-9);
      return at;
    });
    return {
      what: 'four streams',
      copies,
      bytes: 2 * bytes,
      run: (copy) => void move!(places[copy]!, bytes / 4, to - places[copy]!),
      dispose: () => {},
    };
  },
});

/** A worker that reads its half when told to. It looks for a while between calls, and sleeps when others have the turn. */
const helperText = `
const { workerData: { made, memory, flags } } = require('node:worker_threads');
const { read } = new WebAssembly.Instance(made, { env: { memory } }).exports;
Atomics.store(flags, 1, -1);
for (let seen = 0, idle = 0; ; ) {
  const call = Atomics.load(flags, 0);
  if (call === seen) {
    if (++idle > 10000) Atomics.wait(flags, 0, seen);
    continue;
  }
  idle = 0;
  if (call < 0) break;
  read(flags[2], flags[3]);
  Atomics.store(flags, 1, (seen = call));
}`;

/** The same by two threads, half of the memory each. */
export const readLimitOfTwo = (coldBytes: number, bytes = 16 * 2 ** 20): Entrant => ({
  column: 'read',
  make: async () => {
    const copies = Math.max(1, Math.ceil(coldBytes / bytes));
    const arena = new Arena(copies * (bytes + 4096), true);
    const shared = moduleOf(readText()).replace('(memory 1 65536)', '(memory 1 65536 shared)');
    const made = await moduleFrom(shared);
    const { read } = instantiate(made, arena);
    const places = seq(copies, () => {
      const at = arena.allocate(bytes);
      arena.f32(at, bytes / 4).fill(1e-9);
      return at;
    });
    const flags = new Int32Array(new SharedArrayBuffer(16));
    const { memory } = arena;
    const worker = new Worker(helperText, { eval: true, workerData: { made, memory, flags } });
    while (Atomics.load(flags, 1) === 0) await new Promise((done) => setTimeout(done, 1));
    let call = 0;
    const half = bytes / 2;
    return {
      what: 'two threads',
      copies,
      bytes,
      run: (copy) => {
        flags[2] = places[copy]! + half;
        flags[3] = half / 4;
        Atomics.store(flags, 0, ++call);
        Atomics.notify(flags, 0);
        read!(places[copy]!, half / 4);
        while (Atomics.load(flags, 1) !== call);
      },
      dispose: () => {
        Atomics.store(flags, 0, -1);
        Atomics.notify(flags, 0);
        void worker.terminate();
      },
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
