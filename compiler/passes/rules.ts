// Rewrite rules that are exact: no bit of any result changes, NaN, Inf and -0 included (the payload
// of a NaN is not part of a value). Grouped by topic, the algebra in the name; canonicalize.ts runs
// them.
import { sameDims } from '../ir/algebra.ts';
import type { DType } from '../ir/dtype.ts';
import { dtypes, isFloat } from '../ir/dtype.ts';
import type { Value } from '../ir/ir.ts';
import type { BinaryName, CompareName, OpName, UnaryName } from '../ir/ops.ts';
import { type Candidate, commuting, type Rule, type RuleContext, rule } from './engine.ts';
import { foldBinary, foldCast, foldCompare, foldUnary, literalValue } from './fold.ts';

/**
 * The one value that all elements of a tensor have, if it is known: a scalar constant, maybe
 * repeated.
 */
export function constantOf(v: Value): number | undefined {
  const op = v.def?.op;
  if (op?.name === 'const')
    return literalValue((op as Candidate<'const'>).attrs.value, v.type.dtype);
  if (op?.name === 'broadcast' || op?.name === 'reshape') return constantOf(op.operands[0]!);
  return undefined;
}

/** -0 and 0 are different constants here. */
const is = (v: Value, value: number): boolean => Object.is(constantOf(v), value);
/** The op that made a value, if it is of the given name. */
const madeBy = <K extends OpName>(v: Value, name: K): Candidate<K> | undefined =>
  v.def?.op.name === name ? (v.def.op as unknown as Candidate<K>) : undefined;
const floats = (op: Candidate): boolean => isFloat(op.results[0]!.type.dtype);
const dtypeOf = (op: Candidate): DType => op.results[0]!.type.dtype;
const sameType = (a: Value, b: Value): boolean =>
  a.type.dtype === b.type.dtype && sameDims(a.type.shape, b.type.shape);

const unaryNames = [
  'neg',
  'abs',
  'sign',
  'floor',
  'ceil',
  'trunc',
  'round',
  'roundHalfAway',
  'roundHalfUp',
  'sqrt',
  'exp',
  'exp2',
  'log',
  'log2',
  'sin',
  'cos',
  'tanh',
  'not',
  'popcount',
  'exponent',
  'isnan',
] as const satisfies readonly UnaryName[];
const binaryNames = [
  'add',
  'sub',
  'mul',
  'div',
  'rem',
  'pow',
  'min',
  'max',
  'and',
  'or',
  'xor',
  'shl',
  'shr',
] as const satisfies readonly BinaryName[];
const compareNames = ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const satisfies readonly CompareName[];

/** Folds an op whose operands are all known. */
const folding =
  <K extends UnaryName | BinaryName | CompareName | 'cast'>(
    compute: (op: Candidate<K>, values: readonly number[]) => number,
  ) =>
  (op: Candidate<K>, { builder }: RuleContext): Value | undefined => {
    const values: number[] = [];
    for (const v of op.operands) {
      const value = constantOf(v);
      if (value === undefined) return undefined;
      values.push(value);
    }
    return builder.const(compute(op, values), dtypeOf(op as Candidate));
  };
const operandTypes = (op: Pick<Candidate, 'operands'>): DType[] =>
  op.operands.map((v) => v.type.dtype);

/**
 * Ops on constants; a repeated constant folds like a scalar and is repeated again by the engine.
 */
export const foldRules: readonly Rule[] = [
  rule(
    'f(constant) -> constant',
    unaryNames,
    folding((op, [x]) => foldUnary(op.name, x!, operandTypes(op)[0]!, dtypeOf(op as Candidate))),
  ),
  rule(
    'constant op constant -> constant',
    binaryNames,
    folding((op, [a, b]) =>
      foldBinary(op.name, [a!, b!], operandTypes(op), dtypeOf(op as Candidate)),
    ),
  ),
  rule(
    'constant < constant -> constant',
    compareNames,
    folding((op, [a, b]) => foldCompare(op.name, [a!, b!], operandTypes(op))),
  ),
  rule(
    'cast(constant) -> constant',
    'cast',
    folding((op, [x]) => foldCast(x!, operandTypes(op)[0]!, op.attrs.dtype)),
  ),
  rule(
    'view(constant) -> constant',
    ['reshape', 'transpose', 'slice'],
    ({ operands: [x] }, { builder }) => {
      const value = constantOf(x!);
      return value !== undefined && madeBy(x!, 'broadcast')
        ? builder.const(value, x!.type.dtype)
        : undefined;
    },
  ),
];

/** Neutral elements, inverses and cheaper equals of arithmetic. */
export const arithmeticRules: readonly Rule[] = [
  commuting('x * 1 -> x', 'mul', ({ operands: [x, k] }) => (is(k!, 1) ? x : undefined)),
  rule('x / 1 -> x', 'div', ({ operands: [x, k] }) => (is(k!, 1) ? x : undefined)),
  // x + 0 turns -0 into 0, so that only -0 is neutral for floats.
  commuting('x + 0 -> x (integers)', 'add', (op) =>
    !floats(op) && is(op.operands[1]!, 0) ? op.operands[0] : undefined,
  ),
  commuting('x + -0 -> x (floats)', 'add', (op) =>
    floats(op) && is(op.operands[1]!, -0) ? op.operands[0] : undefined,
  ),
  rule('x - 0 -> x', 'sub', ({ operands: [x, k] }) => (is(k!, 0) ? x : undefined)),
  commuting('x * 0 -> 0 (integers)', 'mul', (op, { builder }) =>
    !floats(op) && is(op.operands[1]!, 0) ? builder.const(0, dtypeOf(op)) : undefined,
  ),
  rule('x / 2^n -> x * 2^-n', 'div', ({ operands: [x, k] }, { builder }) => {
    const value = constantOf(k!);
    return value !== undefined && value !== 1 && hasExactReciprocal(value)
      ? builder.one('mul', [x!, builder.const(1 / value, 'f32')], {})
      : undefined;
  }),
  rule('x ** 2 -> x * x', 'pow', ({ operands: [x, k] }, { builder }) =>
    // The product of integers would wrap where the power, in floats, does not.
    is(k!, 2) && isFloat(x!.type.dtype) ? builder.one('mul', [x!, x!], {}) : undefined,
  ),
  rule('-(-x) -> x', 'neg', ({ operands: [x] }) => madeBy(x!, 'neg')?.operands[0]),
  rule('~~x -> x', 'not', ({ operands: [x] }) => madeBy(x!, 'not')?.operands[0]),
  rule('min(x, x) -> x', ['min', 'max'], ({ operands: [x, y] }) => (x === y ? x : undefined)),
  rule('x << 0 -> x', ['shl', 'shr'], ({ operands: [x, k] }) => (is(k!, 0) ? x : undefined)),
  commuting('x | 0 -> x', ['or', 'xor'], ({ operands: [x, k] }) => (is(k!, 0) ? x : undefined)),
  commuting('x & 0 -> 0', 'and', (op, { builder }) =>
    is(op.operands[1]!, 0) ? builder.const(0, dtypeOf(op)) : undefined,
  ),
  commuting('x & true -> x', 'and', ({ operands: [x, k] }) =>
    k!.type.dtype === 'bool' && x!.type.dtype === 'bool' && is(k!, 1) ? x : undefined,
  ),
];

/** 2^n with a reciprocal that is a normal number: devices may flush what is smaller. */
function hasExactReciprocal(x: number): boolean {
  const a = Math.abs(x);
  return (
    a >= 2 ** -126 && a <= 2 ** 126 && Number.isInteger(Math.log2(a)) && 2 ** Math.log2(a) === a
  );
}

/**
 * Whether `wide` holds every value of `narrow`, so that a cast by way of `wide` goes without
 * saying.
 */
export function holds(wide: DType, narrow: DType): boolean {
  if (wide === narrow) return true;
  const w = dtypes[wide];
  const n = dtypes[narrow];
  if (w.kind === 'bool') return false;
  if (w.kind === 'float') return wide === 'f32' && (n.kind === 'float' || n.bits <= 16);
  return n.kind !== 'float' && w.min! <= n.min! && w.max! >= n.max!;
}

/**
 * cast(to, cast(via, x)) is cast(to, x): float to integer saturates where integer to integer wraps.
 */
function skipsCast(from: DType, via: DType, to: DType): boolean {
  if (!holds(via, from)) return false;
  return isFloat(via) === isFloat(from) || isFloat(to) || to === 'bool' || holds(to, from);
}

/** Choices that are known, and casts that do nothing. */
export const choiceRules: readonly Rule[] = [
  rule('true ? a : b -> a', 'select', ({ operands: [c, a, b] }) => {
    const value = constantOf(c!);
    return value === undefined ? undefined : value ? a : b;
  }),
  rule('c ? a : a -> a', 'select', ({ operands: [, a, b] }) => (a === b ? a : undefined)),
  rule('cast to the same dtype -> x', 'cast', (op) =>
    op.attrs.dtype === op.operands[0]!.type.dtype ? op.operands[0] : undefined,
  ),
  rule('cast(cast(x)) -> cast(x)', 'cast', ({ attrs, operands: [y] }, { builder }) => {
    const inner = madeBy(y!, 'cast');
    const x = inner?.operands[0];
    return x && skipsCast(x.type.dtype, y!.type.dtype, attrs.dtype)
      ? builder.one('cast', [x], attrs)
      : undefined;
  }),
  rule('if (constant) -> its branch', 'if', ({ operands: [c], regions }, to) => {
    const value = constantOf(c!);
    return value === undefined ? undefined : to.inline(regions[value ? 0 : 1]!, []);
  }),
  rule('for of no or one pass -> its body', 'for', ({ attrs, operands, regions }, to) => {
    const n = attrs.extent?.constant;
    if (n === 0) return operands;
    return n === 1 ? to.inline(regions[0]!, [to.builder.const(0, 'i32'), ...operands]) : undefined;
  }),
];

/** Views of views, and views that show everything as it is. */
export const viewRules: readonly Rule[] = [
  rule('transpose(x, identity) -> x', 'transpose', ({ attrs, operands: [x] }) =>
    attrs.perm.every((p, i) => p === i) ? x : undefined,
  ),
  rule(
    'transpose(transpose(x)) -> transpose(x)',
    'transpose',
    ({ attrs, operands: [y] }, { builder }) => {
      const inner = madeBy(y!, 'transpose');
      const perm = inner && attrs.perm.map((p) => inner.attrs.perm[p]!);
      return perm && builder.one('transpose', inner.operands, { perm });
    },
  ),
  rule('reshape to the same shape -> x', ['reshape', 'broadcast'], (op) =>
    sameType(op.operands[0]!, op.results[0]!) ? op.operands[0] : undefined,
  ),
  rule('reshape(reshape(x)) -> reshape(x)', ['reshape', 'broadcast'], (op, { builder }) => {
    const inner = madeBy(op.operands[0]!, op.name);
    return inner && builder.one(op.name, inner.operands, op.attrs);
  }),
  // A constant has no memory, and a parameter has its own.
  rule('materialize(constant or parameter) -> x', 'materialize', ({ operands: [x] }) =>
    !x!.def || constantOf(x!) !== undefined ? x : undefined,
  ),
  rule('slice of the whole axis -> x', 'slice', ({ operands: [x], results: [y], attrs }) =>
    attrs.start.equals(0) && sameType(x!, y!) ? x : undefined,
  ),
  rule('concat([x]) -> x', 'concat', ({ operands }) =>
    operands.length === 1 ? operands[0] : undefined,
  ),
  rule('pad by nothing -> x', 'pad', ({ attrs, operands: [x] }) =>
    attrs.low.equals(0) && attrs.high.equals(0) ? x : undefined,
  ),
  rule('at(x) -> x', 'at', ({ operands }) => (operands.length === 1 ? operands[0] : undefined)),
  rule('at(table, constants) -> constant', 'at', ({ operands: [x, ...indices] }, { builder }) => {
    const table = madeBy(x!, 'table');
    if (!table || indices.length < x!.type.shape.length) return undefined;
    let row = 0;
    for (const [axis, v] of indices.entries()) {
      const extent = x!.type.shape[axis]!.constant;
      const index = constantOf(v);
      if (!extent || index === undefined) return undefined;
      row = row * extent + Math.min(Math.max(index, 0), extent - 1);
    }
    return builder.const(literalValue(table.attrs.data[row]!, x!.type.dtype), x!.type.dtype);
  }),
];
