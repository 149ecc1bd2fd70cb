// Loop IR for GPUs: what the schedules make is well formed, reads back as it is printed, and, run by a team of one,
// gives what the interpreter gives.
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cudaBackend } from '../../backends/cuda/index.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import { parseProgram } from '../../compiler/loops/parser.ts';
import { printProgram } from '../../compiler/loops/printer.ts';
import { verifyProgram } from '../../compiler/loops/verifier.ts';
import { pack } from '../../runtime/pack.ts';
import { evaluated, lowered } from '../conformance/lowered.ts';
import { agreeWithInterpreter, samples } from '../conformance/programs.ts';

const test = suite('loop IR for GPUs');

test('random programs are well formed, round-trip as text and agree with the interpreter', () =>
  fc.assert(
    fc.property(samples, (s) => {
      const l = lowered(s.func, cudaBackend.limits);
      const text = printProgram(l.program);
      assert.is(printProgram(parseProgram(text)), text);
      agreeWithInterpreter(s, evaluated(l, s.inputs));
    }),
    { numRuns: 150 },
  ));

const program = (body: string): string =>
  `program "p" (N) {\n  buffer x: f32[N] param\n  buffer y: f32[N] result\n  kernel "k" by "hand" {\n${body}\n  }\n}\n`;
const problems = (body: string): readonly string[] => verifyProgram(parseProgram(program(body)));

test('members meet only where all of them are', () => {
  assert.equal(problems('for i in 0..N step 1 parallel on groups {\nbarrier threads\n}'), []);
  assert.match(
    problems(
      'for i in 0..N step 1 parallel on groups {\nfor j in 0..N step 1 on threads {\nbarrier threads\n}\n}',
    )[0]!,
    /inside of a loop on threads/,
  );
  assert.match(
    problems('for i in 0..N step 1 parallel on grid {\nbarrier threads\n}')[0]!,
    /inside of a loop on grid/,
  );
  assert.match(
    problems(
      'for i in 0..N step 1 parallel on warps {\nfor j in 0..N step 1 on threads {\n}\n}',
    )[0]!,
    /a loop on threads inside of warps/,
  );
});

const reversed = (barrier: string): string =>
  `program "p" (N) {
  buffer x: f32[8] param
  buffer y: f32[8] result
  buffer s: f32[8] group
  kernel "k" by "hand" {
    for i in 0..1 step 1 parallel on groups {
      for t in 0..8 step 1 on members {
        local sum: f32 = 0.0
        for k in 0..2 step 1 {
          s[t] = x[t] + f32(k)
          ${barrier}
          sum = sum + s[7 - t]
          ${barrier}
        }
        y[t] = sum
      }
    }
  }
}
`;

test('members of a group meet, each with variables of its own', () => {
  const p = parseProgram(reversed('barrier threads'));
  assert.equal(verifyProgram(p), []);
  assert.is(printProgram(parseProgram(printProgram(p))), printProgram(p));
  const bytes = (list: readonly number[]): Uint8Array =>
    new Uint8Array(Float32Array.from(list).buffer);
  const y = bytes([0, 0, 0, 0, 0, 0, 0, 0]);
  const x = [1, 2, 3, 4, 5, 6, 7, 8];
  evaluate(p, { N: 1 }, [bytes(x), y, new Uint8Array(32)]);
  assert.equal(
    [...new Float32Array(y.buffer)],
    x.map((_, i) => 2 * (8 - i) + 1),
  );
  assert.match(
    verifyProgram(parseProgram(reversed('barrier lanes')))[0]!,
    /inside of a loop on members/,
  );
  const apart = parseProgram(reversed('if t < 4 {\nbarrier threads\n}'));
  assert.throws(() => evaluate(apart, { N: 1 }, [bytes(x), y, new Uint8Array(32)]), /go apart/);
});

const multiplied = (scalar: string, dtype: string, packing: string, where = 'members'): string => {
  const row = '(t >> 2) * 32 + (t & 3) * 8';
  const piece = dtype === 'i8' ? 16 : 8;
  const copies = (to: string, from: string, each: number): string =>
    Array.from({ length: each / piece }, (_, i) => {
      const at = `[t * ${each} + ${i * piece} : ${piece}]`;
      return `copy ${to}${at} = ${from}${at} for ${i === 0 ? piece : `N * ${piece}`}`;
    }).join('\n');
  const words = dtype === 'i8' ? 2 : 4;
  return `program "p" (N) {
  buffer x: ${dtype}[512] param
  buffer y: ${dtype}[256] param
  buffer z: f32[128] result
  buffer a: ${dtype}[512] group
  buffer b: ${dtype}[512] group
  kernel "k" by "hand" {
    for i in 0..1 step 1 parallel on groups {
      for t in 0..32 step 1 on ${where} {
        ${copies('a', 'x', 16)}
        if t < 16 {
          ${copies('b', 'y', 16)}
        }
        arrive 0
        barrier threads
        local c: ${scalar}x4 = ${scalar}x4(${scalar === 'i32' ? '0' : '0.0'})
        pack p: i32x${words} by ${packing} = a[${row} : 8 @ 8]
        pack q: i32x${words} by ${packing} = a[${row} + 256 : 8 @ 8]
        pack r: i32x${words} by ${packing} = b[${row} : 8 @ 8]
        product c by ${dtype} = p, q on r
        z[t * 4 : 4 @ 4] = ${scalar === 'i32' ? 'f32(c)' : 'c'}
      }
    }
  }
}
`;
};

test('a warp multiplies 16 rows by 8 that were copied and packed, each lane has four points', () => {
  const x = Array.from({ length: 512 }, (_, i) => ((i * 7) % 23) - 11);
  const y = Array.from({ length: 256 }, (_, i) => ((i * 5) % 17) - 8);
  for (const [scalar, dtype, packing] of [
    ['i32', 'i8', 'i8'],
    ['f32', 'f16', 'f16'],
    ['f32', 'f16', 'f16_paired'],
    ['f32', 'bf16', 'bf16'],
  ] as const) {
    const p = parseProgram(multiplied(scalar, dtype, packing));
    assert.equal(verifyProgram(p), []);
    assert.is(printProgram(parseProgram(printProgram(p))), printProgram(p));
    const z = new Uint8Array(512);
    const bytes = dtype === 'i8' ? 1 : 2;
    const group = (): Uint8Array => new Uint8Array(512 * bytes);
    const stored = (list: readonly number[]): Uint8Array => pack(dtype, [list.length], list);
    evaluate(p, { N: 1 }, [stored(x), stored(y), z, group(), group()]);
    const point = (m: number, n: number): number =>
      Array.from({ length: 32 }, (_, k) => x[m * 32 + k]! * y[n * 32 + k]!).reduce((s, v) => s + v);
    const want = Array.from({ length: 128 }, (_, i) => {
      const [lane, j] = [i >> 2, i & 3];
      return point((lane >> 2) + 8 * (j >> 1), 2 * (lane & 3) + (j & 1));
    });
    assert.equal([...new Float32Array(z.buffer)], want, packing);
  }
  const wrong = (text: string): string => verifyProgram(parseProgram(text)).join();
  const good = multiplied('f32', 'f16', 'f16');
  assert.match(wrong(good.replace('product c by f16', 'product c by i8')), /i8 added to f32x4/);
  assert.match(wrong(good.replaceAll('i32x4 by', 'i32x2 by')), /packed as f16 into i32x2/);
  assert.match(wrong(good.replaceAll('f16[512] group', 'f16[512] temp')), /a copy of 16 bytes/);
});

test.run();
