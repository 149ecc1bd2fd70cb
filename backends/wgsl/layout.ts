// How buffers are declared: as words of 32 bits, or as vectors of words where every access fits, so that they move in
// wide pieces. Elements narrower than a word are shifted out of words. Where threads may write parts of the same word,
// the words are atomic. When a kernel has more buffers than a target binds, the smallest lie behind each other in one. What
// is larger than a binding, a tensor or those merged, is bound in windows.
import { type DType, dtypes } from '../../compiler/ir/dtype.ts';
import { nested } from '../../compiler/loops/walk.ts';
import type { Launch } from '../../compiler/loops/launches.ts';
import {
  type Buffer,
  type Expr,
  operands,
  type Program,
  type Stmt,
} from '../../compiler/loops/loops.ts';
import type { Limits } from '../backend.ts';
import { Names, typeText } from './types.ts';

export type Word = 'f32' | 'i32' | 'u32';

export interface Place {
  readonly name: string;
  readonly space: 'storage' | 'workgroup' | 'function';
  readonly word: Word;
  /** Words of an array element. */
  readonly unit: 1 | 2 | 4;
  readonly atomic: boolean;
  /** Of a merged binding: the member of `sizes` with the word at which the buffer starts. */
  readonly offset?: string;
  /** In several bindings, named `name_0` and so on, of so many array elements each. */
  readonly windows?: { readonly count: number; readonly elements: number };
}

export interface Binding {
  /** Number in group 0; 0 is `sizes`. */
  readonly number: number;
  readonly buffers: readonly Buffer[];
  readonly written: boolean;
  /** Launches may see it as elements of different widths, each as a variable of its own. */
  readonly variables: readonly { readonly name: string; readonly place: Place }[];
  /** The part that it holds of the buffer, or of those behind each other, in bytes. */
  readonly window?: { readonly from: number; readonly bytes: number };
}

export interface Layout {
  /** By launch, of the buffers that it touches. */
  readonly places: ReadonlyMap<Launch, ReadonlyMap<number, Place>>;
  readonly bindings: readonly Binding[];
  /** Members of `sizes` after `zero`: the dims, then the starts of merged buffers. */
  readonly sizes: readonly {
    readonly name: string;
    readonly dim?: string;
    readonly buffer?: Buffer;
  }[];
  readonly dims: ReadonlyMap<string, string>;
  readonly names: Names;
}

/** What the accesses to a buffer have in common, in bits. */
interface Access {
  /** Widest power of two that divides place and length of every vector load, at most 128. */
  loads: number;
  /** The same of every store, scalars included. */
  stores: number;
}

export const wordOf = (d: DType): Word =>
  dtypes[d].bits < 32 ? 'u32' : d === 'f32' ? 'f32' : dtypes[d].kind === 'uint' ? 'u32' : 'i32';

const common = (bits: number): number => {
  let n = 128;
  while (n > 1 && bits % n !== 0) n /= 2;
  return n;
};

function accessesOf(launches: readonly Launch[]): ReadonlyMap<number, Access> {
  const out = new Map<number, Access>();
  const of = (b: Buffer): Access => {
    let a = out.get(b.id);
    if (!a) {
      a = { loads: 256, stores: 256 };
      out.set(b.id, a);
    }
    return a;
  };
  const seen = new Set<Expr>();
  const expr = (e: Expr): void => {
    if (seen.has(e)) return;
    seen.add(e);
    if (e.kind === 'load' && e.type.lanes > 1) {
      const { bits } = dtypes[e.buffer.dtype];
      const a = of(e.buffer);
      a.loads = Math.min(a.loads, common(e.align * bits), common(e.type.lanes * bits));
    }
    operands(e).forEach(expr);
  };
  const visit = (s: Stmt): void => {
    if ('value' in s) expr(s.value);
    if (s.kind === 'for') [s.start, s.end].forEach(expr);
    if (s.kind === 'while' || s.kind === 'if') expr(s.cond);
    if (s.kind === 'store') {
      expr(s.index);
      const { bits } = dtypes[s.buffer.dtype];
      const { lanes } = s.value.type;
      const a = of(s.buffer);
      const align = lanes === 1 ? 1 : s.align;
      a.stores = Math.min(a.stores, common(align * bits), common(lanes * bits));
    }
    for (const inner of nested(s)) inner.forEach(visit);
  };
  for (const l of launches) l.body.forEach(visit);
  return out;
}

function placeOf(b: Buffer, name: string, a: Access | undefined): Place {
  const space = b.role === 'group' ? 'workgroup' : b.role === 'thread' ? 'function' : 'storage';
  const word = wordOf(b.dtype);
  // One thread has its own memory to itself.
  const atomic = (a?.stores ?? 256) < 32 && space !== 'function';
  const wide =
    space === 'storage' && a && a.loads < 256 ? Math.min(a.loads, a.stores, 128) / 32 : 1;
  const unit = wide === 4 ? 4 : wide === 2 ? 2 : 1;
  return { name, space, word, unit, atomic };
}

/** The type of an array element. */
export const elementType = (p: Place): string =>
  p.atomic ? 'atomic<u32>' : typeText(p.word, p.unit);

/** Words of an array for this many elements; one more, because packed elements are read in pairs of words. */
export const wordsOf = (d: DType, elements: number): number => {
  const { bits } = dtypes[d];
  return Math.max(1, Math.ceil((elements * bits) / 32) + (bits < 32 ? 1 : 0));
};

export function layoutOf(
  program: Program,
  launches: readonly Launch[],
  { maxBuffers, windows }: Pick<Limits, 'maxBuffers' | 'windows'>,
  reserved: Iterable<string>,
): Layout {
  const names = new Names(undefined, reserved);
  const access = accessesOf(launches);
  const written = new Set(launches.flatMap((l) => [...l.written]));
  const used = new Set(launches.flatMap((l) => [...l.buffers, ...l.inner].map((b) => b.id)));
  const buffers = program.buffers.filter((b) => used.has(b.id));
  const bindings: Binding[] = [];
  const sizes: { name: string; dim?: string; buffer?: Buffer }[] = [];
  const dims = new Map<string, string>();
  for (const dim of program.dims) {
    const name = names.fresh(dim);
    dims.set(dim, `sizes.${name}`);
    sizes.push({ name, dim });
  }
  const { groups, merged, windowsOf } = mergesOf(program, launches, buffers, written, {
    maxBuffers,
    windows,
  });
  const places = new Map(launches.map((l) => [l, new Map<number, Place>()]));
  /** The bindings of buffers, one or as many as there are windows, as variables of these places. */
  const bind = (list: readonly Buffer[], seen: readonly Place[]): void => {
    const count = windowsOf(list);
    const isWritten = list.some((b) => written.has(b.id));
    for (let k = 0; k < count; k += 1)
      bindings.push({
        number: bindings.length + 1,
        buffers: list,
        written: isWritten,
        variables: seen.map((place) => ({ name: windowName(place, k), place })),
        ...(count === 1 ? {} : { window: { from: k * windows!.bytes, bytes: windows!.bytes } }),
      });
  };
  const cut = (list: readonly Buffer[], place: Place): Place => {
    const count = windowsOf(list);
    if (count === 1) return place;
    return { ...place, windows: { count, elements: windows!.bytes / 4 / place.unit } };
  };
  for (const b of buffers) {
    if (merged.has(b.id)) continue;
    const wish = names.of(`buffer ${b.id}`, b.name);
    const all = placeOf(b, wish, access.get(b.id));
    if (all.space !== 'storage') {
      for (const own of places.values()) own.set(b.id, all);
      continue;
    }
    const seen: Place[] = [];
    for (const [l, own] of places) {
      if (!l.buffers.includes(b)) continue;
      const place = placeOf(b, wish, accessesOf([l]).get(b.id));
      let known = seen.find((x) => x.unit === place.unit && x.atomic === place.atomic);
      if (!known) {
        const name = seen.length === 0 ? wish : names.fresh(`${wish}_by_${place.unit}`);
        known = cut([b], { ...place, name });
        seen.push(known);
      }
      own.set(b.id, known);
    }
    bind([b], seen);
  }
  for (const group of groups) {
    const name = names.fresh('merged');
    const atomic = group.some((b) => (access.get(b.id)?.stores ?? 256) < 32);
    const place = cut(group, { name, space: 'storage', word: 'u32', unit: 1, atomic });
    bind(group, [place]);
    for (const b of group) {
      const at = names.fresh(`${b.name}_at`);
      sizes.push({ name: at, buffer: b });
      for (const own of places.values()) own.set(b.id, { ...place, offset: `sizes.${at}` });
    }
  }
  return { places, bindings, sizes, dims, names };
}

/** The variable of a window. */
export const windowName = ({ name, windows }: Place, k: number): string =>
  windows ? `${name}_${k}` : name;

/** Sizes at which buffers are compared, to merge what is cheap to copy. */
const typical = 4096;

interface Merges {
  readonly groups: readonly (readonly Buffer[])[];
  readonly merged: ReadonlySet<number>;
  /** Bindings that buffers behind each other take. */
  readonly windowsOf: (list: readonly Buffer[]) => number;
}

/**
 * Buffers that share bindings so that no launch binds more than the limit: those that are only read in one group, the
 * others in another, the smallest first.
 */
function mergesOf(
  program: Program,
  launches: readonly Launch[],
  buffers: readonly Buffer[],
  written: ReadonlySet<number>,
  { maxBuffers, windows }: Pick<Limits, 'maxBuffers' | 'windows'>,
): Merges {
  const sixteenths = (b: Buffer): number => windows?.of[program.buffers.indexOf(b)] ?? 0;
  const windowsOf = (list: readonly Buffer[]): number => {
    const all = list.reduce((n, b) => n + sixteenths(b), 0);
    // Those that are not named take another sixteenth together.
    const more = list.some((b) => sixteenths(b) === 0) ? 1 : 0;
    return Math.max(1, Math.ceil((all + more) / 16));
  };
  const bytes = (b: Buffer): number => (b.size.evaluate(() => typical) * dtypes[b.dtype].bits) / 8;
  const order = buffers
    .filter((b) => b.role !== 'group' && b.role !== 'thread')
    .map((b) => ({ b, large: sixteenths(b), bytes: bytes(b) }))
    .sort((x, y) => x.large - y.large || x.bytes - y.bytes || x.b.id - y.b.id)
    .map((x) => x.b);
  const read = order.filter((b) => !written.has(b.id));
  const wrote = order.filter((b) => written.has(b.id));
  const groups: [Buffer[], Buffer[]] = [[], []];
  const merged = new Set<number>();
  const bound = (l: Launch): number => {
    const own = l.buffers.reduce((n, b) => n + (merged.has(b.id) ? 0 : windowsOf([b])), 0);
    const mine = groups.filter((g) => g.some((b) => l.buffers.includes(b)));
    return mine.reduce((n, g) => n + windowsOf(g), own);
  };
  for (;;) {
    const over = launches.find((l) => bound(l) > maxBuffers);
    if (!over) break;
    const take = (from: Buffer[], to: Buffer[]): boolean => {
      const i = from.findIndex((b) => over.buffers.some((x) => x.id === b.id));
      if (i < 0) return false;
      const [b] = from.splice(i, 1);
      to.push(b!);
      merged.add(b!.id);
      return true;
    };
    if (!take(read, groups[0]) && !take(wrote, groups[1])) break;
  }
  // A lone buffer is as well off in a binding of its own.
  for (const g of groups) if (g.length === 1) merged.delete(g[0]!.id);
  return { groups: groups.filter((g) => g.length > 1), merged, windowsOf };
}
