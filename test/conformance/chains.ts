// Random chains of views, elementwise ops, reductions and maps. Values are small whole numbers, so that every
// result is exact in f32 whatever is fused or reordered; + 0, because a sum of zeros may have either sign.
import fc from 'fast-check';
import type { DType } from '../../compiler/ir/dtype.ts';
import { whole } from './arrays.ts';
import type { Case } from './case.ts';

/** A dim: its size in the call, and how the kernel writes it. */
interface Size {
  readonly n: number;
  readonly text: string;
}
interface State {
  readonly text: string;
  readonly shape: readonly Size[];
}
interface Step {
  readonly op: number;
  readonly a: number;
  readonly b: number;
}

const lit = (n: number): Size => ({ n, text: `${n}` });
const times = (a: Size, b: Size): Size => ({ n: a.n * b.n, text: `(${a.text}) * (${b.text})` });
const count = (shape: readonly Size[]): number => shape.reduce((p, d) => p * d.n, 1);
const list = (shape: readonly Size[]): string => `[${shape.map((d) => d.text).join(', ')}]`;
const put = <T>(xs: readonly T[], at: number, take: number, ...by: readonly T[]): T[] => [
  ...xs.slice(0, at),
  ...by,
  ...xs.slice(at + take),
];

type Rule = (s: State, axis: number, n: number) => State | undefined;
const deep =
  (rule: Rule): Rule =>
  (s, axis, n) =>
    s.shape.length > 1 ? rule(s, axis, n) : undefined;

/** Each gives the next expression and its shape, or nothing where it does not apply. */
const rules: readonly Rule[] = [
  deep(({ text, shape }) => ({
    text: `transpose(${text})`,
    shape: [...shape.slice(0, -2), shape.at(-1)!, shape.at(-2)!],
  })),
  ({ text, shape }, axis) => {
    const perm = shape.map((_, i) => (i + axis) % shape.length);
    return { text: `transpose(${text}, [${perm.join(', ')}])`, shape: perm.map((p) => shape[p]!) };
  },
  ({ text, shape }) => ({ text: `reshape(${text}, [-1])`, shape: [shape.reduce(times)] }),
  ({ text, shape }, axis, n) => {
    const d = shape[axis]!;
    const f = [2, 3, 4, 8].find((p, i) => i >= n % 3 && d.n % p === 0);
    if (!f) return undefined;
    const to = put(shape, axis, 1, { n: d.n / f, text: `(${d.text}) / ${f}` }, lit(f));
    return { text: `reshape(${text}, ${list(to)})`, shape: to };
  },
  deep(({ text, shape }, axis) => {
    if (axis + 1 >= shape.length) return undefined;
    const to = put(shape, axis, 2, times(shape[axis]!, shape[axis + 1]!));
    return { text: `reshape(${text}, ${list(to)})`, shape: to };
  }),
  ({ text, shape }, axis, n) => {
    const start = n % shape[axis]!.n;
    const end = Math.min(shape[axis]!.n, start + 1 + (n % 5));
    return {
      text: `slice(${text}, ${start}, ${end}, ${axis})`,
      shape: put(shape, axis, 1, lit(end - start)),
    };
  },
  ({ text, shape }, axis, n) => {
    const d = shape[axis]!;
    if (d.n < 3) return undefined;
    const to = { n: d.n - 1 - (n % 2), text: `(${d.text}) - ${1 + (n % 2)}` };
    return {
      text: `slice(${text}, 1, (${d.text}) - ${n % 2}, ${axis})`,
      shape: put(shape, axis, 1, to),
    };
  },
  ({ text, shape }, axis) => ({
    text: `concat([${text}, ${text} + 1], ${axis})`,
    shape: put(shape, axis, 1, times(shape[axis]!, lit(2))),
  }),
  ({ text, shape }, axis) => ({
    text: `stack([${text}, -${text}], ${axis})`,
    shape: put(shape, axis, 0, lit(2)),
  }),
  ({ text, shape }, axis, n) => {
    const [low, high] = [n % 3, n % 2];
    const to = { n: shape[axis]!.n + low + high, text: `(${shape[axis]!.text}) + ${low + high}` };
    return {
      text: `pad(${text}, ${low}, ${high}, { axis: ${axis}, value: ${n} })`,
      shape: put(shape, axis, 1, to),
    };
  },
  deep(({ text, shape }, _, n) => ({
    text: `at(${text}, ${n % shape[0]!.n})`,
    shape: shape.slice(1),
  })),
  ({ text, shape }, axis, n) => ({
    text: `gather(${text}, iota(3) * 2 - ${n % 3}, ${axis})`,
    shape: put(shape, axis, 1, lit(3)),
  }),
  ({ text, shape }) => ({
    text: `broadcastTo(${text}, ${list([lit(2), ...shape])})`,
    shape: [lit(2), ...shape],
  }),
  ({ text, shape }) => ({ text: `(${text} + iota(${shape.at(-1)!.text}))`, shape }),
  ({ text, shape }, _, n) => ({ text: `max(${text} * ${n % 2 ? -1 : 2}, ${-n})`, shape }),
  ({ text, shape }, axis, n) => ({
    text: `${['sum', 'amax', 'amin'][n % 3]}(${text}, ${axis}, { keepdims: true })`,
    shape: put(shape, axis, 1, lit(1)),
  }),
  deep(({ text, shape }, axis, n) => ({
    text: `${['sum', 'amax', 'argmin'][n % 3]}(${text}, ${axis})`,
    shape: put(shape, axis, 1),
  })),
  ({ text, shape }, axis) => ({
    text: `(${text} - amin(${text}, ${axis}, { keepdims: true }))`,
    shape,
  }),
  ({ text, shape }) => ({ text: `f32(i8(${text}))`, shape }),
  ({ text, shape }, _, n) => ({ text: `(${text} > ${n % 4} ? ${text} : ${n})`, shape }),
  deep(({ text, shape }) =>
    count(shape) <= 400
      ? {
          text: `(matmul(${text}, transpose(${text})) % 64)`,
          shape: [...shape.slice(0, -1), shape.at(-2)!],
        }
      : undefined,
  ),
  deep(({ text, shape }, axis) => ({
    text: `map(${shape[0]!.text}, (i) => at(${text}, i) * 2 - ${axis} + i)`,
    shape,
  })),
  deep(({ text, shape }) => ({
    text: `map(${shape[0]!.text}, (i) => { let r = at(${text}, i) * 1; for (const k of range(2)) r = r + k * i; return r; })`,
    shape,
  })),
];

const starts: readonly (readonly number[])[] = [[4, 8], [3, 5], [2, 3, 4], [12], [1, 33], [6, 16]];
const steps = fc.array(fc.record({ op: fc.nat(rules.length - 1), a: fc.nat(7), b: fc.nat(11) }), {
  minLength: 2,
  maxLength: 5,
});

function run(start: State, chain: readonly Step[]): State {
  let state = start;
  for (const { op, a, b } of chain) {
    const next = rules[op]!(state, a % state.shape.length, b);
    const fits =
      next &&
      next.shape.length > 0 &&
      next.shape.length <= 5 &&
      count(next.shape) <= 3000 &&
      next.text.length < 1500;
    if (fits) state = next;
  }
  return state;
}

/** Three chains from one parameter, each a result; each dim is literal or symbolic. */
export const chains: fc.Arbitrary<Case> = fc
  .record({
    start: fc.nat(starts.length - 1),
    list: fc.array(steps, { minLength: 3, maxLength: 3 }),
    symbolic: fc.nat(7),
    dtype: fc.constantFrom<DType>('f32', 'i8', 'u4', 'i32'),
    seed: fc.integer({ min: 1, max: 99 }),
  })
  .map(({ start, list: chosen, symbolic, dtype, seed }): Case => {
    const sizes = starts[start]!;
    const isSymbolic = (i: number): boolean => ((symbolic >> i) & 1) === 1;
    const shape = sizes.map((n, i) => (isSymbolic(i) ? { n, text: `dim(x, ${i})` } : lit(n)));
    const annotation = sizes.map((n, i) => (isSymbolic(i) ? 'MNK'[i] : n)).join(', ');
    return {
      name: 'a chain',
      params: `x: Tensor<${dtype}, [${annotation}]>`,
      results: Object.fromEntries(
        chosen.map((chain, i) => [`r${i}`, `${run({ text: 'x', shape }, chain).text} + 0`]),
      ),
      calls: [[whole(dtype, sizes, seed)]],
    };
  });
