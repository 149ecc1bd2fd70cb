// Random functions of tensor IR with results that no order of evaluation may change: either any values without
// sums, or small whole numbers with them.
import fc from 'fast-check';
import type { HostArray } from '../../compiler/index.ts';
import { interpret } from '../../compiler/interpreter/interpret.ts';
import { dtypes, isFloat } from '../../compiler/ir/dtype.ts';
import type { Func } from '../../compiler/ir/ir.ts';
import { printFunc } from '../../compiler/ir/printer.ts';
import { opNames, program, specsOf, steps, tensorsOf } from '../ir/programs.ts';
import { agree } from './compare.ts';

fc.configureGlobal({ includeErrorInReport: true });
const rounded = ['exp', 'exp2', 'log', 'log2', 'sin', 'cos', 'tanh', 'pow', 'rem'];
const sums = ['sum', 'matmul'];
const fractions = ['div', 'sqrt', 'bitcast'];

export interface Sample {
  readonly func: Func;
  readonly inputs: readonly HostArray[];
  readonly toString: () => string;
}

const small = (x: HostArray): HostArray => {
  const { min, max } = dtypes[x.dtype];
  const fit = (v: number): number =>
    Math.min(Math.max((Math.trunc(v) || 0) % 5, min ?? -4), max ?? 4);
  return {
    ...x,
    data: isFloat(x.dtype) || min !== undefined ? (x.data.map(fit) as HostArray['data']) : x.data,
  };
};

export const samples: fc.Arbitrary<Sample> = fc
  .record({
    list: steps,
    whole: fc.boolean(),
    n: fc.integer({ min: 1, max: 9 }),
    k: fc.integer({ min: 1, max: 9 }),
  })
  .chain(({ list, whole, n, k }) => {
    const banned = new Set([...rounded, ...(whole ? fractions : sums), 'kernel']);
    const kept = list
      .filter((s) => !banned.has(opNames[s.op]!))
      .map((s) => (whole ? { ...s, value: Math.abs(s.value) <= 9 ? Math.trunc(s.value) : 2 } : s));
    const func = program(kept);
    return tensorsOf(specsOf(func, { N: n, K: 4 * k })).map((tensors): Sample => {
      const inputs = (tensors as HostArray[]).map((x) => (whole ? small(x) : x));
      return { func, inputs, toString: () => `N = ${n}, K = ${4 * k}\n${printFunc(func)}` };
    });
  });

/** Holds `got` against the interpreter. Sums that f32 cannot hold exactly are no test of anything. */
export function agreeWithInterpreter(
  { func, inputs }: Sample,
  got: readonly HostArray[],
  flushes = false,
): void {
  const want = interpret(func, inputs) as HostArray[];
  const exact = interpret(func, inputs, { precision: 'f64' });
  const summed = printFunc(func).match(/ = (sum|matmul)\(/);
  want.forEach((w, i) => {
    if (
      summed &&
      w.data.some(
        (x, j) => !Object.is(Number(x), Math.fround(exact[i]!.data[j]!)) && isFloat(w.dtype),
      )
    )
      return;
    // A sum of zeros may have either sign.
    const unsigned = (x: HostArray): HostArray =>
      summed && isFloat(x.dtype) ? { ...x, data: x.data.map((v) => v + 0) as Float32Array } : x;
    agree(`result ${i}`, unsigned(got[i]!), unsigned(w), 'exact', undefined, flushes);
  });
}
