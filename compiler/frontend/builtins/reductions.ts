// Reductions: sum mean amin amax any all argmin argmax.
import { fail } from '../../diagnostics/diagnostic.ts';
import { product } from '../../ir/algebra.ts';
import type { Value } from '../../ir/ir.ts';
import { type ArgReduceName, normalizeAxis, type ReduceName } from '../../ir/ops.ts';
import type { Stager } from '../stager.ts';
import { describeVal, is, tensorVal, type Val } from '../values.ts';
import { type Builtin, type BuiltinTable, option, reshapeTo, wrongArguments } from './arguments.ts';

function axesOf(s: Stager, v: Val, callee: string, x: Value): number[] {
  const rank = x.type.shape.length;
  if (v === undefined || is(v, 'record')) return Array.from({ length: rank }, (_, i) => i);
  const list = is(v, 'array') ? v.items : [v];
  const axes = list.map((a) =>
    normalizeAxis(callee, s.ctx.staticNumber(a, `The axis of ${callee}()`), x.type.shape),
  );
  return [...new Set(axes)].sort((a, b) => a - b);
}

const keepdims = (args: readonly Val[]): boolean =>
  [1, 2].some((i) => option(args, i, 'keepdims') === true);

function reduction(name: ReduceName): Builtin {
  return (s, args) => {
    if (args.length < 1 || args.length > 3) wrongArguments(name, args, 'x, axis?, { keepdims }?');
    let x = s.ctx.tensor(args[0]);
    if ((name === 'any' || name === 'all') && x.type.dtype !== 'bool')
      x = s.ctx.builder.one('cast', [x], { dtype: 'bool' });
    const axes = axesOf(s, args[1], name, x);
    if (axes.length === 0) return tensorVal(x);
    return tensorVal(s.ctx.builder.one(name, [x], { axes, keepdims: keepdims(args) }));
  };
}

function argReduction(name: ArgReduceName): Builtin {
  return (s, args) => {
    if (args.length < 1 || args.length > 3) wrongArguments(name, args, 'x, axis?');
    let x = s.ctx.tensor(args[0]);
    if (x.type.shape.length === 0)
      fail('Q2006', { op: name, found: describeVal(args[0]), expected: 'at least one axis' });
    if (args[1] === undefined || is(args[1], 'record')) {
      if (x.type.shape.length > 1) x = reshapeTo(s, x, [product(x.type.shape)]);
      return tensorVal(s.ctx.builder.one(name, [x], { axes: [0], keepdims: false }));
    }
    const axes = axesOf(s, args[1], name, x);
    if (axes.length !== 1) wrongArguments(name, args, 'a single axis');
    return tensorVal(s.ctx.builder.one(name, [x], { axes, keepdims: keepdims(args) }));
  };
}

export const reductions: BuiltinTable = {
  sum: reduction('sum'),
  amin: reduction('amin'),
  amax: reduction('amax'),
  any: reduction('any'),
  all: reduction('all'),
  argmin: argReduction('argmin'),
  argmax: argReduction('argmax'),
  mean: (s, args) => {
    const x = s.ctx.tensor(args[0]);
    const axes = axesOf(s, args[1], 'mean', x);
    const total = reduction('sum')(s, args);
    const count = s.ctx.builder.dim(product(axes.map((a) => x.type.shape[a]!)));
    return is(total, 'tensor')
      ? tensorVal(s.ctx.builder.one('div', [total.value, count], {}))
      : total;
  },
};
