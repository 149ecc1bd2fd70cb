// The builtin factors(w): an encoded tensor taken apart into what its decode multiplies and adds. A program that multiplies
// integers can then put scales on the other operand of a product before it rounds that, where they vary along the sum.
import { fail } from '../diagnostics/diagnostic.ts';
import { type Dim, Poly, sameDims } from '../ir/algebra.ts';
import { dtypes, isFloat } from '../ir/dtype.ts';
import type { Op, Value } from '../ir/ir.ts';
import { typeText } from '../ir/ops.ts';
import { parallelMap } from './branches.ts';
import { decodedBlock } from './codecs.ts';
import { blockDims, blockGrid } from './formats.ts';
import type { Stager } from './stager.ts';
import { type EncodedVal, recordVal, tensorVal, type Val } from './values.ts';

/** scale * integers + offset; an absent scale is 1, an absent offset 0. Scale and offset are the same along the last axis. */
interface Parts {
  readonly integers: Value;
  readonly scale?: Value;
  readonly offset?: Value;
}

/** Entries of a table become integers by a power of two up to 2^finest, and then fit a byte. */
const finest = 12;
const byte = 127;

/** Whether a value that broadcasts to `shape` is the same along the last axis of it. */
const ofRuns = (v: Value): boolean => v.type.shape.at(-1)?.equals(Poly.of(1)) ?? true;

type Step = 'neg' | 'mul' | 'div' | 'add' | 'sub';

/** What a value of a block is made of; undefined where it is no sum of a product. */
function takenApart(s: Stager, v: Value): Parts | undefined {
  const b = s.ctx.builder;
  const step = (name: Step, ...operands: readonly Value[]): Value => b.one(name, operands, {});
  const minus = (x: Value): Value => step('neg', x);
  /** Both parts change alike; `alone` is the scale where there was none. */
  const scaled = (
    p: Parts | undefined,
    change: (x: Value) => Value,
    alone: () => Value,
  ): Parts | undefined =>
    p && {
      integers: p.integers,
      scale: p.scale ? change(p.scale) : alone(),
      ...(p.offset && { offset: change(p.offset) }),
    };
  const moved = (p: Parts | undefined, by: Value): Parts | undefined =>
    p && { ...p, offset: p.offset ? step('add', p.offset, by) : by };
  const negated = (p: Parts | undefined): Parts | undefined =>
    scaled(p, minus, () => b.const(-1, 'f32'));
  const of = (x: Value): Parts | undefined => {
    const op = x.def?.op;
    const [left, right] = (op?.operands ?? []) as [Value, Value];
    if (dtypes[x.type.dtype].kind === 'bool') return undefined;
    // Of integers only what multiplies a run is no part of them.
    if (!isFloat(x.type.dtype) && !(op?.name === 'mul' && (ofRuns(left) || ofRuns(right))))
      return { integers: x };
    switch (op?.name) {
      case 'cast':
        return x.type.dtype === 'f32' ? of(left) : undefined;
      case 'neg':
        return negated(of(left));
      case 'mul': {
        const [by, rest] = ofRuns(right) ? [right, left] : [left, right];
        if (!ofRuns(by)) return undefined;
        return scaled(
          of(rest),
          (y) => step('mul', y, by),
          () => by,
        );
      }
      case 'div':
        if (!ofRuns(right)) return undefined;
        return scaled(
          of(left),
          (y) => step('div', y, right),
          () => step('div', b.const(1, 'f32'), right),
        );
      case 'add': {
        const [by, rest] = ofRuns(right) ? [right, left] : [left, right];
        return ofRuns(by) ? moved(of(rest), by) : undefined;
      }
      case 'sub':
        if (ofRuns(right)) return moved(of(left), minus(right));
        return ofRuns(left) ? moved(negated(of(right)), left) : undefined;
      case 'gather':
        return ofTable(s, op as Op<'gather'>);
      default:
        return undefined;
    }
  };
  return of(v);
}

/** A look-up in a table of floats that are integers times a power of two. */
function ofTable(s: Stager, op: Op<'gather'>): Parts | undefined {
  const [from, index] = op.operands as [Value, Value];
  const made = from.def?.op;
  if (made?.name !== 'table' || from.type.shape.length !== 1) return undefined;
  const { data } = (made as Op<'table'>).attrs;
  const b = s.ctx.builder;
  for (let e = 0; e <= finest; e += 1) {
    const whole = data.map((x) => x * 2 ** e);
    if (whole.some((x) => Math.abs(x) > byte)) return undefined;
    if (!whole.every(Number.isInteger)) continue;
    // No integer is -0.
    const integers = whole.map((x) => x + 0);
    const table = b.one('table', [], { data: integers, dtype: 'i8', shape: from.type.shape });
    return { integers: b.one('gather', [table, index], op.attrs), scale: b.const(2 ** -e, 'f32') };
  }
  return undefined;
}

/** A float, spread over `shape`. */
function spread(s: Stager, v: Value, shape: readonly Dim[]): Value {
  const b = s.ctx.builder;
  const float = v.type.dtype === 'f32' ? v : b.one('cast', [v], { dtype: 'f32' });
  const runs = [...shape, Poly.of(1)];
  const full = sameDims(float.type.shape, runs)
    ? float
    : b.one('broadcast', [float], { shape: runs });
  return b.one('reshape', [full], { shape });
}

/** [lead, grid, rows of a block, runs of a row of it, tail] -> [lead, rows, runs, tail]. */
function joinRuns(s: Stager, w: EncodedVal, v: Value, shape: readonly Dim[]): Value {
  const b = s.ctx.builder;
  const { block } = w.format;
  const n = w.shape.length - block.length;
  const rest = v.type.shape.map((_, i) => i).slice(n + 4);
  const perm = [...w.shape.slice(0, n).map((_, i) => i), n, n + 2, n + 1, n + 3, ...rest];
  return b.one('reshape', [block.length === 1 ? v : b.one('transpose', [v], { perm })], { shape });
}

/** The builtin factors(w). */
export function factors(s: Stager, w: EncodedVal): Val {
  const f = w.format;
  const { lead, grid } = blockGrid(s, f, w.shape);
  const size = blockDims(f);
  const width = f.block.at(-1)!;
  let run = 0;
  let hasOffset = false;
  /** One part of all blocks: a map of its own, as maps with several results are stored. */
  const partOf =
    (name: 'integers' | 'scale' | 'offset') =>
    (ids: Val[]): Val => {
      const indices = ids.map((i) => s.ctx.tensor(i));
      // Views in front of the last step only join the axes of runs.
      let inner = decodedBlock(s, w, indices);
      while (inner.def?.op.name === 'reshape') inner = inner.def.op.operands[0]!;
      const { shape } = inner.type;
      run = shape.at(-1)?.constant ?? 0;
      const parts = run > 0 && width % run === 0 ? takenApart(s, inner) : undefined;
      if (!parts || !sameDims(parts.integers.type.shape, shape))
        return fail('Q3011', {
          name: f.ref?.name ?? 'the format',
          found: `${inner.def?.op.name ?? 'a value'} : ${typeText(inner.type)}`,
        });
      const b = s.ctx.builder;
      // Of blocks that are one axis the runs follow each other; of others the rows stay in front.
      const runs = [...size.slice(0, -1), Poly.of(width / run)];
      const view = (v: Value, tail: readonly Dim[]): Val =>
        tensorVal(b.one('reshape', [v], { shape: [...runs, ...tail] }));
      hasOffset = parts.offset !== undefined;
      if (name === 'integers') return view(parts.integers, [Poly.of(run)]);
      const scale = parts.scale ?? b.const(1, 'f32');
      const number = name === 'scale' ? scale : parts.offset!;
      return view(spread(s, number, shape.slice(0, -1)), []);
    };
  const joined = (name: Parameters<typeof partOf>[0]): Val => {
    const made = s.ctx.tensor(parallelMap(s, [...lead, ...grid], partOf(name)));
    const runs = [...w.shape.slice(0, -1), w.shape.at(-1)!.over(run)!];
    const tail = name === 'integers' ? [Poly.of(run)] : [];
    return tensorVal(joinRuns(s, w, made, [...runs, ...tail]));
  };
  const [integers, scale] = [joined('integers'), joined('scale')];
  return recordVal([
    ['integers', integers],
    ['scale', scale],
    ['offset', hasOffset ? joined('offset') : undefined],
  ]);
}
