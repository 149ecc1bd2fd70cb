// Which neighbouring vector statements may run chunk by chunk together: chunk 0 of all of them, then chunk 1, and
// so on, so that a value made in one and used in the next stays in a register. That is right as long as no
// statement looks at other lanes of what the run changes.
import {
  type Expr,
  type ExprOf,
  operands,
  type Stmt,
  type Var,
} from '../../compiler/loops/loops.ts';
import { indexText } from './addresses.ts';
import { isExtreme } from './extremes.ts';
import { chunksOf } from './frame.ts';

export type Simple = Extract<Stmt, { kind: 'let' | 'local' | 'set' | 'store' }>;
export const isSimple = (s: Stmt): s is Simple =>
  s.kind === 'let' || s.kind === 'local' || s.kind === 'set' || s.kind === 'store';

/**
 * The long vector that a statement folds into four lanes, alone or on top of what it had: the chunks of it may
 * come one by one.
 */
export function foldOf(s: Simple): ExprOf<'fold'> | undefined {
  const { value } = s;
  if (s.kind === 'store') return undefined;
  if (value.kind === 'fold') return value;
  if (value.kind === 'muladd')
    return value.a.kind === 'fold' && value.c.kind === 'var' ? value.a : undefined;
  if (value.kind !== 'binary' || value.type.lanes !== 4) return undefined;
  if (value.b.kind === 'fold' && value.a.kind === 'var') return value.b;
  return value.a.kind === 'fold' && value.b.kind === 'var' ? value.a : undefined;
}

/** Registers that folds of a run may fill, as each keeps one, or two, until its last chunk. */
const mostFolded = 8;
const foldedIn = (s: Simple): number => {
  const fold = foldOf(s);
  if (!fold) return 0;
  return isExtreme(fold) ? 2 : 1;
};

/** Steps in which a statement of a run is carried out. */
const stepsOf = (s: Simple): number => chunksOf((foldOf(s)?.a ?? s.value).type.lanes);

/** What a statement reads across lanes (or as scalars), and the memory that it reads. */
interface Reads {
  readonly crossed: Set<number>;
  readonly memory: {
    readonly buffer: number;
    readonly place: string | undefined;
    readonly lanes: number;
  }[];
}

function readsOf(s: Simple): Reads {
  const out: Reads = { crossed: new Set(), memory: [] };
  const streamed = foldOf(s);
  // `whole`: below a scalar, where every lane is needed at once.
  const visit = (e: Expr, whole: boolean): void => {
    if (e.kind === 'var' && whole) out.crossed.add(e.var.id);
    if (e.kind === 'load') {
      const place = whole ? undefined : indexText(e.index);
      out.memory.push({ buffer: e.buffer.id, place, lanes: e.type.lanes });
    }
    if (e.kind === 'gather') out.memory.push({ buffer: e.buffer.id, place: undefined, lanes: 0 });
    const crosses =
      (e.kind === 'fold' && e !== streamed) ||
      e.kind === 'dot' ||
      e.kind === 'dot4' ||
      e.kind === 'zip' ||
      e.kind === 'repeat' ||
      e.kind === 'tile';
    for (const x of operands(e))
      visit(x, (whole && e !== streamed) || crosses || x.type.lanes === 1);
  };
  visit(s.value, s.value.type.lanes === 1 || streamed !== undefined);
  if (s.kind === 'store') visit(s.index, true);
  return out;
}

/** Whether chunk c of the statement needs nothing that an earlier chunk of it has overwritten. */
function isLaneWise(s: Simple, reads: Reads): boolean {
  if (s.kind !== 'store') return !reads.crossed.has(s.var.id);
  return reads.memory.every((r) => r.buffer !== s.buffer.id || samePlace(r, s));
}

const samePlace = (
  r: { readonly place: string | undefined; readonly lanes: number },
  s: Extract<Simple, { kind: 'store' }>,
): boolean =>
  r.place !== undefined && r.place === indexText(s.index) && r.lanes === s.value.type.lanes;

function hasRank(e: Expr, seen = new Set<Expr>()): boolean {
  if (seen.has(e)) return false;
  seen.add(e);
  return e.kind === 'rank' || operands(e).some((x) => hasRank(x, seen));
}

export interface Run {
  readonly list: readonly Simple[];
  readonly chunks: number;
  /**
   * Chunks that each statement does before the next one has its turn: four where one makes sixteen lanes at once, all where
   * statements have much to keep from one chunk to the next.
   */
  readonly unit: number;
  /** Chunks of names are made where a store comes to them, as it takes several together. */
  readonly isLazy: boolean;
  /** Every value is needed before anything is written: a single statement that overlaps itself. */
  readonly wholeFirst: boolean;
}

/** The run that starts at `list[from]`; `isAlone` are statements with a way of their own, `keeps` those with much to keep. */
export function runAt(
  list: readonly Stmt[],
  from: number,
  isAlone: (s: Stmt) => boolean = () => false,
  keeps: (s: Simple) => boolean = () => false,
): Run {
  const first = list[from] as Simple;
  const chunks = stepsOf(first);
  const firstReads = readsOf(first);
  if (!isLaneWise(first, firstReads) && !foldOf(first))
    return { list: [first], chunks, unit: 1, isLazy: false, wholeFirst: true };
  const run: Simple[] = [first];
  if (first.value.type.lanes === 1)
    return { list: run, chunks: 1, unit: 1, isLazy: false, wholeFirst: false };

  const written = new Map<number, Var>();
  const crossed = new Set(firstReads.crossed);
  const read = [...firstReads.memory];
  const stores: Extract<Simple, { kind: 'store' }>[] = [];
  let folded = foldedIn(first);
  const take = (s: Simple): void => {
    if (s.kind === 'store') stores.push(s);
    else written.set(s.var.id, s.var);
  };
  take(first);
  for (let i = from + 1; i < list.length; i++) {
    const s = list[i]!;
    if (!isSimple(s) || isAlone(s) || s.value.type.lanes === 1 || stepsOf(s) !== chunks) break;
    const reads = readsOf(s);
    // A store waits until its unit is complete, so that nothing of the run may read after it.
    const free =
      (isLaneWise(s, reads) || foldOf(s) !== undefined) &&
      [...reads.crossed].every((id) => !written.has(id)) &&
      (s.kind === 'store' || !crossed.has(s.var.id)) &&
      reads.memory.every((r) => stores.every((t) => t.buffer.id !== r.buffer)) &&
      (s.kind !== 'store' ||
        (stores.every((t) => t.buffer.id !== s.buffer.id) &&
          read.every((r) => r.buffer !== s.buffer.id || samePlace(r, s))));
    folded += foldedIn(s);
    if (!free || folded > mostFolded) break;
    run.push(s);
    take(s);
    for (const id of reads.crossed) crossed.add(id);
    read.push(...reads.memory);
  }
  // Values behind the last store are for what comes next: made with that, they need not wait in registers.
  const stored = run.findLastIndex((s) => s.kind === 'store');
  if (stored >= 0) run.length = stored + 1;
  const unit = run.some((s) => hasRank(s.value)) ? 4 : run.some(keeps) ? chunks : 1;
  // Two stores would each want them in its own time.
  const isLazy = unit === 1 && stores.length === 1 && run.at(-1)!.kind === 'store';
  return { list: run, chunks, unit, isLazy, wholeFirst: false };
}

/**
 * The list with names of scalars in front of the vectors that they stand between, where these have nothing to do with them, so
 * that runs are longer.
 */
export function scalarsFirst(list: readonly Stmt[]): readonly Stmt[] {
  const out: Stmt[] = [];
  /** Vectors that scalars may pass: what they bind, and what they write. */
  let [bound, written] = [new Set<number>(), new Set<number>()];
  let from = 0;
  for (const s of list) {
    const isScalar = s.kind === 'let' && s.value.type.lanes === 1;
    if (isScalar && !touches(s.value, bound, written)) {
      out.splice(from, 0, s);
      from += 1;
      continue;
    }
    out.push(s);
    if (isSimple(s) && s.value.type.lanes > 1) {
      if (s.kind === 'store') written.add(s.buffer.id);
      else bound.add(s.var.id);
    } else {
      [bound, written] = [new Set(), new Set()];
      from = out.length;
    }
  }
  return out;
}

function touches(
  e: Expr,
  bound: ReadonlySet<number>,
  written: ReadonlySet<number>,
  seen = new Set<Expr>(),
): boolean {
  if (seen.has(e)) return false;
  seen.add(e);
  if (e.kind === 'var' && bound.has(e.var.id)) return true;
  if ((e.kind === 'load' || e.kind === 'gather') && written.has(e.buffer.id)) return true;
  return operands(e).some((x) => touches(x, bound, written, seen));
}
