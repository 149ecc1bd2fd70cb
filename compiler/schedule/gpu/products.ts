// Contractions on tensor cores, from one row on. Which rows take which tile; what of the operands is copied and what is put
// down; what of it fits the group's memory.

import { floorDiv, Poly } from '../../ir/algebra.ts';
import { type DType, dtypes } from '../../ir/dtype.ts';
import type { Buffer, Expr } from '../../loops/loops.ts';
import { lateLets } from '../../loops/late.ts';
import * as L from '../../loops/loops.ts';
import type { Lowering } from '../lowering.ts';
import { coreOf, type Core, formsOf, partsOf, type Plan, planOf } from './cores.ts';
import { type Field, fieldsOf, pitchOf, type Stages } from './feeds.ts';
import type { Road } from './gemv.ts';
import {
  type Memory,
  passPitch,
  passRows,
  type ProductShape,
  ProductTile,
} from './product-tile.ts';
import { type Contraction, type Part, type Place, reduces, Tile, tileEmitter } from './tile.ts';

/** Warps of a group. */
const warps = 8;
const shape = (from: number, rows: number, cols: number, ownCols: number): ProductShape => ({
  ...{ from, rows, cols, ownCols },
  ownRows: Math.max(8, rows),
  down: cols / ownCols,
  deep: warps / (cols / ownCols),
});
/** By the rows of the streamed operand from which they are used: `rows` of it, `cols` of the panel. */
const shapes: readonly ProductShape[] = [
  shape(0, 1, 16, 16),
  shape(2, 8, 64, 16),
  shape(9, 16, 64, 16),
  shape(17, 64, 128, 16),
  shape(65, 64, 256, 32),
];
/** Sums that a thread keeps in registers. */
const mostSums = 64;
const depths = [128, 64, 32] as const;
const counts = [4, 3, 2] as const;

/** What is known of a side before its tile is: its forms, and whether elements have scales and offsets. */
interface SideInfo {
  readonly scale: boolean;
  readonly offset: boolean;
}
interface Recipe {
  readonly plan: Plan;
  /** Whether cores of the panel are looked up in tables. */
  readonly tables: boolean;
  readonly sides: readonly (readonly [SideInfo, SideInfo])[];
}

/** None where the elements do not suit. */
export function productRoads(lo: Lowering, c: Contraction): readonly Road[] {
  const { gpu } = lo.limits;
  if (!gpu?.products || gpu.threads !== 32 * warps) return [];
  if (c.parts.some((p) => p.op.operands.some((v) => reduces(lo, v)))) return [];
  const recipe = recipeOf(lo, c);
  if (!recipe) return [];
  // One row of f32 is not worth being taken apart, and one of bytes has instructions of its own.
  const fit = shapes
    .filter((s) => (s.ownRows / 8) * (s.ownCols / 16) * 4 * c.parts.length <= mostSums)
    .filter((s) => s.rows > 1 || (recipe.plan.planes === 1 && recipe.plan.kind !== 'i8'));
  const emitTiles = tileEmitter(lo, c, fit);
  return fit.flatMap((s): Road[] => {
    const of = (whole: boolean): Layout | undefined => layoutOf(lo, c, recipe, s, whole);
    const safe = of(false);
    if (!safe) return [];
    const { em } = lo;
    const emit = (l: Layout): void => {
      const list = em.scope(() =>
        emitTiles(
          s,
          gpu.threads,
          (at) => new ProductTile(at, s, l.stages, l.paired).emit(l.fields, l.memory(lo)),
          // A group that divides its depth among its warps leaves nothing to divide.
          s.down > 1,
        ),
      );
      // What was fetched is worked on where it is put down, behind the products.
      em.scopes.at(-1)!.stmts.push(...lateLets(list));
    };
    const quick = safe.copies ? undefined : of(true);
    if (!quick?.copies) return [{ from: s.from, emit: () => emit(safe) }];
    // Rows that are whole copies can be copied: which is known at launch.
    const rest = c.parts.map(({ k }) => k.sub(floorDiv(k, 8).mul(8)));
    return [
      {
        from: s.from,
        emit: () => {
          const odd = rest.reduce((a, b) => a.add(b));
          em.push({
            kind: 'if',
            cond: L.compare('lt', em.index(odd), L.i32(1)),
            then: em.scope(() => emit(quick)),
            else: em.scope(() => emit(safe)),
          });
        },
      },
    ];
  });
}

function probe<T>(lo: Lowering, c: Contraction, body: (tile: Tile) => T): T {
  const { em } = lo;
  return em.trial(() => {
    let out: T | undefined;
    em.scope(() => {
      const any = (): Poly => Poly.atom(em.atom(em.newVar('i', L.vtype('i32'))));
      const zero = Poly.of(0);
      const at: Place = {
        ...{ lo, c, s: shapes[0]!, threads: 32 * warps, t: zero, s0: zero, p0: zero },
        ids: c.root.type.shape.slice(0, -2).map(any),
      };
      out = body(new Tile(at, 1));
    });
    return out!;
  });
}

/** What both operands of all parts are packed as; found on whole slices, of which a scale must be the same throughout. */
function recipeOf(lo: Lowering, c: Contraction): Recipe | undefined {
  const { em } = lo;
  for (const unit of [32, 16] as const) {
    const sides = c.parts.map((p) =>
      probe(lo, c, (tile) =>
        (['stream', 'panel'] as const).map((which) => {
          const side = tile.side(which, p);
          const any = (name: string, extent?: Poly): Poly =>
            Poly.atom(em.atom(em.newVar(name, L.vtype('i32')), extent));
          const k = any('k', p.k.over(unit) ?? undefined)
            .mul(unit)
            .add(Poly.atom(lo.lane(unit)));
          const e: Expr = side.element(any('i', side.extent), k, unit);
          const core: Core | undefined = coreOf(e);
          const parts = core ? [...partsOf(core.core, em.definition)] : [];
          const tables = parts.some((x) => x.kind === 'gather');
          return { core, tables, forms: core ? formsOf(core, em.definition) : [] };
        }),
      ),
    );
    const plans = sides.map(([a, b]) => planOf(a!.forms, b!.forms, unit));
    const [plan] = plans;
    const alike = plans.every((q) => q && q.kind === plan!.kind && q.planes === plan!.planes);
    const streams = sides.every(([a]) => !a!.core?.offset);
    // Where a scale may be one a slice, slices are whole.
    const whole = c.parts.every(
      (p, i) =>
        p.k.multiple() % unit === 0 ||
        sides[i]!.every(
          ({ core }) => !core?.scale && !core?.offset && core?.core.type.scalar === 'f32',
        ),
    );
    if (!plan || !alike || !streams || !whole) continue;
    const info = (x: { core: Core | undefined }): SideInfo => ({
      scale: x.core!.scale !== undefined || x.core!.offset !== undefined,
      offset: x.core!.offset !== undefined,
    });
    const tables = sides.some(([, b]) => b!.tables);
    return { plan, tables, sides: sides.map(([a, b]) => [info(a!), info(b!)] as const) };
  }
  return undefined;
}

interface Layout {
  readonly stages: Stages;
  readonly paired: boolean;
  readonly fields: readonly (readonly [readonly Field[], readonly Field[]])[];
  /** Whether the panel is copied. */
  readonly copies: boolean;
  memory(lo: Lowering): readonly (readonly [Memory, Memory])[];
}

/** The deepest stages, and the most of them, that the group's memory holds. */
function layoutOf(
  lo: Lowering,
  c: Contraction,
  recipe: Recipe,
  s: ProductShape,
  whole: boolean,
): Layout | undefined {
  const { plan } = recipe;
  const room = lo.limits.gpu!.tileBytes ?? 0;
  for (const depth of depths)
    for (const count of counts) {
      const stages: Stages = { plan, depth, total: depth * s.deep, count };
      const fields = c.parts.map((p) => sidesOf(lo, c, p, stages, whole));
      const bytes = bytesOf(recipe, s, stages, fields, c.parts.length);
      if (bytes > room) continue;
      const panel = fields.every(([, f]) => f.length > 0);
      const narrow = fields.every(([, f]) => f.some((x) => dtypes[x.from.dtype].bits < 8));
      // Halves in pairs save work where they are unpacked, and take some where they are copied in order.
      const inOrder = fields.some(([f]) => f.length > 0);
      const paired =
        plan.kind !== 'i8' && narrow && !recipe.tables && (!inOrder || s.rows <= s.ownCols);
      const memory = (to: Lowering) => memoryOf(to, recipe, s, stages, fields);
      return { stages, paired, fields, copies: panel, memory };
    }
  return undefined;
}

/** The fields that are copied: of the panel, and of the stream where it is multiplied as it is. */
function sidesOf(
  lo: Lowering,
  c: Contraction,
  p: Part,
  stages: Stages,
  whole: boolean,
): readonly [readonly Field[], readonly Field[]] {
  const of = (which: 'stream' | 'panel'): readonly Field[] =>
    probe(lo, c, (tile) => fieldsOf(lo, tile.side(which, p), p.k, stages, whole)) ?? [];
  // What each warp would have to work on is put down once.
  const { kind, planes } = stages.plan;
  const stream = planes === 1 ? of('stream').filter((f) => f.from.dtype === kind) : [];
  return [stream, of('panel')];
}

interface Sizes {
  readonly copies: readonly { readonly field: Field; readonly pitch: number }[];
  readonly pitch: number;
  readonly words: number;
  readonly scales: number;
}
function sizesOf(
  info: SideInfo,
  rows: number,
  planes: number,
  stages: Stages,
  fields: readonly Field[],
): Sizes {
  const { plan, total } = stages;
  const per = plan.unit / 4;
  const pitched = (bits: number): number =>
    (8 * pitchOf((total * bits) / 8, (per * bits) / 8)) / bits;
  const pitch = (pitched(dtypes[plan.kind].bits) * dtypes[plan.kind].bits) / 32;
  return {
    copies: fields.map((field) => ({ field, pitch: pitched(dtypes[field.from.dtype].bits) })),
    pitch,
    words: fields.length > 0 ? 0 : 2 * planes * rows * pitch,
    scales: info.scale ? 2 * rows * (total / plan.unit + 1) : 0,
  };
}

const rowsOf = (s: ProductShape): readonly [number, number] => [s.rows, s.cols];

/** Parts follow one another: those that lie alike lie in the same memory. */
function bytesOf(
  recipe: Recipe,
  s: ProductShape,
  stages: Stages,
  fields: Layout['fields'],
  parts: number,
): number {
  const sizes = new Map<string, number>();
  memoryBy(recipe, s, stages, fields, (name, dtype, size) => {
    sizes.set(`${name} ${dtype} ${size}`, (size * dtypes[dtype].bits) / 8);
  });
  const tile = 4 * parts * s.deep * passRows(s) * passPitch(s);
  return [...sizes.values()].reduce((sum, n) => sum + n, tile);
}

function memoryOf(
  lo: Lowering,
  recipe: Recipe,
  s: ProductShape,
  stages: Stages,
  fields: Layout['fields'],
): readonly (readonly [Memory, Memory])[] {
  const made = new Map<string, Buffer>();
  return memoryBy(recipe, s, stages, fields, (name, dtype, size) => {
    const key = `${name} ${dtype} ${size}`;
    const buffer = made.get(key) ?? lo.em.newBuffer(name, dtype, 'group', Poly.of(size));
    made.set(key, buffer);
    return buffer;
  });
}

/** Where the operands lie; `make` gives the memory of one thing. */
function memoryBy<B>(
  recipe: Recipe,
  s: ProductShape,
  stages: Stages,
  fields: Layout['fields'],
  make: (name: string, dtype: DType, size: number) => B,
): readonly (readonly [Memory<B>, Memory<B>])[] {
  return fields.map((own, i) => {
    const of = (side: 0 | 1): Memory<B> => {
      const which = side === 0 ? 'stream' : 'panel';
      const rows = rowsOf(s)[side];
      const info = recipe.sides[i]![side];
      const planes = side === 0 ? recipe.plan.planes : 1;
      const sizes = sizesOf(info, rows, planes, stages, own[side]);
      const group = (name: string, dtype: DType, size: number): B =>
        make(`${which}_${name}`, dtype, size);
      const copy = ({ field: { from }, pitch }: Sizes['copies'][number]) => ({
        pitch,
        buffer: group(from.name.split('.').at(-1)!, from.dtype, stages.count * rows * pitch),
      });
      return {
        which,
        copies: sizes.copies.map(copy),
        words: sizes.words
          ? { buffer: group('words', 'i32', sizes.words), pitch: sizes.pitch }
          : undefined,
        scales: info.scale ? group('scales', 'f32', sizes.scales) : undefined,
        offsets: info.offset ? group('offsets', 'f32', sizes.scales) : undefined,
      };
    };
    return [of(0), of(1)] as const;
  });
}
