// Shape builtins: views, joins, indexing, constant tensors.
import { fail } from '../../diagnostics/diagnostic.ts';
import { type Dim, Poly, shapeText } from '../../ir/algebra.ts';
import { castValue, dtypes } from '../../ir/dtype.ts';
import type { Value } from '../../ir/ir.ts';
import { broadcastShapes, normalizeAxis, typeText } from '../../ir/ops.ts';
import type { Stager } from '../stager.ts';
import { arrayVal, describeVal, dimVal, is, tensorVal, type Val } from '../values.ts';
import {
  axisOf,
  type BuiltinTable,
  completeShape,
  dimsOf,
  dtypeOf,
  option,
  reshapeTo,
  wrongArguments,
} from './arguments.ts';

/** Index operand: a static integer (negative counts from the end), a dim, or a tensor of integers. */
export function indexOperand(s: Stager, v: Val, axisSize: Dim, callee: string): Value {
  if (typeof v === 'number') {
    const size = axisSize.constant;
    if (!Number.isInteger(v) || (size !== undefined && (v >= size || v < -size)))
      fail('Q2008', { what: `The index of ${callee}()`, found: `${v} in an axis of ${axisSize}` });
    return s.ctx.builder.dim(v < 0 ? axisSize.add(v) : Poly.of(v));
  }
  return s.ctx.tensor(v);
}

function joinable(s: Stager, args: readonly Val[], callee: string): Value[] {
  const [list] = args;
  if (!is(list, 'array') || list.items.length === 0)
    return wrongArguments(callee, args, 'a static array of tensors');
  const xs = list.items.map((x) => s.ctx.tensor(x));
  const dtype = xs.find((x) => x.type.dtype !== xs[0]!.type.dtype)
    ? xs.reduce(
        (d, x) => (dtypes[x.type.dtype].kind === 'float' ? 'f32' : d),
        'i32' as 'i32' | 'f32',
      )
    : undefined;
  return dtype
    ? xs.map((x) => (x.type.dtype === dtype ? x : s.ctx.builder.one('cast', [x], { dtype })))
    : xs;
}

function full(
  s: Stager,
  shape: readonly Dim[],
  value: Val,
  dtype: ReturnType<typeof dtypeOf> | undefined,
): Val {
  const x = s.ctx.tensor(value, typeof value === 'number' ? dtype : undefined);
  const cast = dtype && x.type.dtype !== dtype ? s.ctx.builder.one('cast', [x], { dtype }) : x;
  return tensorVal(shape.length ? s.ctx.builder.one('broadcast', [cast], { shape }) : cast);
}

/** Numbers and shape of a nested static array. */
function literal(s: Stager, v: Val, shape: number[], depth: number, out: number[]): void {
  if (!is(v, 'array')) {
    if (typeof v !== 'number' && typeof v !== 'boolean')
      fail('Q1008', {
        what: 'An entry of tensor([...])',
        found: describeVal(v),
        expected: 'a number',
      });
    if (depth !== shape.length)
      fail('Q2006', {
        op: 'tensor([...])',
        found: 'rows of different lengths',
        expected: 'a rectangular array',
      });
    s.ctx.budget.array(1);
    out.push(Number(v));
    return;
  }
  if (out.length === 0 && depth === shape.length) shape.push(v.items.length);
  if (shape[depth] !== v.items.length)
    fail('Q2006', {
      op: 'tensor([...])',
      found: 'rows of different lengths',
      expected: 'a rectangular array',
    });
  for (const x of v.items) literal(s, x, shape, depth + 1, out);
}

export const shapes: BuiltinTable = {
  shape: (s, [x]) =>
    arrayVal((is(x, 'encoded') ? x.shape : s.ctx.tensor(x).type.shape).map(dimVal)),
  dim: (s, args) => {
    const [x, axis] = args;
    const shape = is(x, 'encoded') ? x.shape : s.ctx.tensor(x).type.shape;
    return dimVal(
      shape[normalizeAxis('dim', s.ctx.staticNumber(axis, 'The axis of dim()'), shape)]!,
    );
  },
  reshape: (s, args) => {
    if (args.length !== 2) wrongArguments('reshape', args, 'x, [dims]');
    const x = s.ctx.tensor(args[0]);
    return tensorVal(reshapeTo(s, x, completeShape(x, dimsOf(s, args[1], 'reshape'))));
  },
  materialize: (s, args) => {
    if (args.length !== 1) wrongArguments('materialize', args, 'a tensor');
    return tensorVal(s.ctx.builder.one('materialize', [s.ctx.tensor(args[0])], {}));
  },
  group: (s, args) => {
    const x = s.ctx.tensor(args[0]);
    const size = s.ctx.staticNumber(args[1], 'The size of group()');
    const last = x.type.shape.at(-1);
    if (!last) return wrongArguments('group', args, 'a tensor with an axis, and a size');
    if (
      !Number.isInteger(size) ||
      size <= 0 ||
      (last.constant !== undefined && last.constant % size !== 0)
    )
      fail('Q2006', {
        op: 'group',
        found: `${typeText(x.type)} in groups of ${size}`,
        expected: 'a size that divides the last axis',
      });
    if (last.multiple() % size !== 0) s.ctx.constrain(last, size, `group(x, ${size})`);
    return tensorVal(
      reshapeTo(s, x, [...x.type.shape.slice(0, -1), last.over(size)!, Poly.of(size)]),
    );
  },
  transpose: (s, args) => {
    const x = s.ctx.tensor(args[0]);
    const rank = x.type.shape.length;
    if (args[1] === undefined && rank < 2)
      fail('Q2006', { op: 'transpose', found: typeText(x.type), expected: 'two axes or more' });
    const perm = is(args[1], 'array')
      ? args[1].items.map((a) =>
          normalizeAxis('transpose', s.ctx.staticNumber(a, 'An axis of transpose()'), x.type.shape),
        )
      : Array.from({ length: rank }, (_, i) =>
          i === rank - 1 ? rank - 2 : i === rank - 2 ? rank - 1 : i,
        );
    return tensorVal(s.ctx.builder.one('transpose', [x], { perm }));
  },
  slice: (s, args) => {
    const x = s.ctx.tensor(args[0]);
    const axis = axisOf(s, args[3], 'slice', x, 0);
    const size = x.type.shape[axis]!;
    const bound = (v: Val, otherwise: Dim): Dim => {
      if (v === undefined) return otherwise;
      const d = s.ctx.dimOf(v, 'A bound of slice()');
      return d.constant !== undefined && d.constant < 0 ? size.add(d) : d;
    };
    const start = bound(args[1], Poly.of(0));
    const end = bound(args[2], size);
    const room = size.sub(end).constant;
    const length = end.sub(start).constant;
    if (
      (room !== undefined && room < 0) ||
      (length !== undefined && length < 0) ||
      (start.constant ?? 0) < 0
    )
      fail('Q2008', { what: 'slice', found: `${start} .. ${end} of an axis of ${size}` });
    return tensorVal(s.ctx.builder.one('slice', [x], { axis, start, size: end.sub(start) }));
  },
  concat: (s, args) => {
    const xs = joinable(s, args, 'concat');
    return tensorVal(
      s.ctx.builder.one('concat', xs, { axis: axisOf(s, args[1], 'concat', xs[0]!, 0) }),
    );
  },
  stack: (s, args) => {
    const xs = joinable(s, args, 'stack');
    const rank = xs[0]!.type.shape.length;
    const given = args[1] === undefined ? 0 : s.ctx.staticNumber(args[1], 'The axis of stack()');
    const axis = given < 0 ? given + rank + 1 : given;
    if (!Number.isInteger(axis) || axis < 0 || axis > rank)
      fail('Q2003', { op: 'stack', axis: given, shape: shapeText(xs[0]!.type.shape) });
    const widened = xs.map((x) =>
      reshapeTo(s, x, [...x.type.shape.slice(0, axis), Poly.of(1), ...x.type.shape.slice(axis)]),
    );
    return tensorVal(s.ctx.builder.one('concat', widened, { axis }));
  },
  pad: (s, args) => {
    const x = s.ctx.tensor(args[0]);
    const low = s.ctx.dimOf(args[1], 'The padding of pad()');
    const high = s.ctx.dimOf(args[2], 'The padding of pad()');
    for (const p of [low, high])
      if ((p.constant ?? 0) < 0) fail('Q2008', { what: 'The padding of pad()', found: `${p}` });
    const fill = s.ctx.tensor(option(args, 3, 'value') ?? 0, x.type.dtype);
    const value =
      fill.type.dtype === x.type.dtype
        ? fill
        : s.ctx.builder.one('cast', [fill], { dtype: x.type.dtype });
    return tensorVal(
      s.ctx.builder.one('pad', [x, value], {
        axis: axisOf(s, option(args, 3, 'axis'), 'pad', x, -1),
        low,
        high,
      }),
    );
  },
  at: (s, args) => {
    if (args.length < 2) wrongArguments('at', args, 'a tensor and one index an axis');
    const x = s.ctx.tensor(args[0]);
    const indices = args.slice(1);
    if (indices.length > x.type.shape.length)
      fail('Q2006', {
        op: 'at',
        found: `${indices.length} indices into ${typeText(x.type)}`,
        expected: 'at most one index an axis',
      });
    return tensorVal(
      s.ctx.builder.one(
        'at',
        [x, ...indices.map((v, i) => indexOperand(s, v, x.type.shape[i]!, 'at'))],
        {},
      ),
    );
  },
  gather: (s, args) => {
    if (args.length < 2) wrongArguments('gather', args, 'x, indices, axis?');
    const x = s.ctx.tensor(args[0]);
    const axis = axisOf(s, args[2], 'gather', x, 0);
    return tensorVal(s.ctx.builder.one('gather', [x, s.ctx.tensor(args[1])], { axis }));
  },
  broadcastTo: (s, args) => {
    const shape = dimsOf(s, args[1], 'broadcastTo');
    return tensorVal(s.ctx.builder.one('broadcast', [s.ctx.tensor(args[0])], { shape }));
  },
  iota: (s, args) =>
    tensorVal(
      s.ctx.builder.one('iota', [], { size: s.ctx.dimOf(args[0], 'The length of iota()') }),
    ),
  zeros: (s, args) => full(s, dimsOf(s, args[0], 'zeros'), 0, dtypeOf(args[1], 'zeros', 'f32')),
  zerosLike: (s, args) => {
    if (args.length !== 1) wrongArguments('zerosLike', args, 'a tensor');
    const { shape, dtype } = s.ctx.tensor(args[0]).type;
    return full(s, shape, 0, dtype);
  },
  full: (s, args) =>
    full(
      s,
      dimsOf(s, args[0], 'full'),
      args[1],
      args[2] === undefined
        ? typeof args[1] === 'number'
          ? 'f32'
          : undefined
        : dtypeOf(args[2], 'full', 'f32'),
    ),
  tensor: (s, args) => {
    if (!is(args[0], 'array')) return wrongArguments('tensor', args, 'a static array of numbers');
    const dtype = dtypeOf(args[1], 'tensor', 'f32');
    const shape: number[] = [];
    const data: number[] = [];
    literal(s, args[0], shape, 0, data);
    const from = dtypes[dtype].kind === 'float' ? 'f32' : 'i32';
    return tensorVal(
      s.ctx.builder.one('table', [], {
        data: data.map((x) => castValue(from, dtype, x)),
        dtype,
        shape: shape.map((n) => Poly.of(n)),
      }),
    );
  },
  bitcast: (s, args) =>
    tensorVal(
      s.ctx.builder.one('bitcast', [s.ctx.tensor(args[0])], {
        dtype: dtypeOf(args[1], 'bitcast', 'u8'),
      }),
    ),
  matmul: (s, args) => {
    if (args.length !== 2) wrongArguments('matmul', args, 'two tensors');
    return tensorVal(
      s.ctx.builder.one('matmul', [s.ctx.tensor(args[0]), s.ctx.tensor(args[1])], {}),
    );
  },
};

export { broadcastShapes };
