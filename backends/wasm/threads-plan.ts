// How a program runs on several workers: which statements every worker runs, which only the first, which loops
// they share, and where they wait for each other. Pure analysis; threads.ts makes code of it.
import {
  type Effects,
  type ForLoop,
  effectsOf,
  outerSets,
  splitLoops,
} from '../../compiler/loops/parallel.ts';
import { apart, liveRanges } from '../../compiler/loops/live.ts';
import type { Expr, Program, Stmt } from '../../compiler/loops/loops.ts';

export type Segment =
  /** Run by every worker: it sets variables, and stores nothing. */
  | { readonly kind: 'each'; readonly list: readonly Stmt[] }
  /** Run by the first worker alone. */
  | { readonly kind: 'first'; readonly list: readonly Stmt[] }
  /** Iterations are handed out through counter number `counter`; if there are any, after a barrier with `wait`. */
  | {
      readonly kind: 'split';
      readonly loop: ForLoop;
      readonly counter: number;
      readonly wait: boolean;
    }
  | {
      readonly kind: 'branch';
      readonly cond: Expr;
      readonly then: readonly Segment[];
      readonly else: readonly Segment[];
    }
  | { readonly kind: 'barrier' };

export interface ThreadsPlan {
  /** For each kernel. */
  readonly kernels: readonly (readonly Segment[])[];
  readonly counters: number;
}

/** Split loops of a program; the kernels after that run on the first worker. */
const maxCounters = 240;

/** Undefined when nothing in the program can be shared. */
export function planThreads(program: Program): ThreadsPlan | undefined {
  const own = new Set(program.buffers.filter((b) => b.private).map((b) => b.id));
  const planner = new Planner(own, sharers(program, own));
  const kernels = program.kernels.map((k) => planner.kernel(k.body));
  return planner.counters === 0 ? undefined : { kernels, counters: planner.counters };
}

/** For each temporary of all workers, those that may lie in the same memory, as they are not live at the same time. */
function sharers(
  program: Program,
  own: ReadonlySet<number>,
): ReadonlyMap<number, readonly number[]> {
  const live = [...liveRanges(program)].filter(([id]) => !own.has(id));
  return new Map(
    live.map(([id, at]) => [id, live.filter(([, l]) => apart(at, l)).map(([other]) => other)]),
  );
}

/** Buffers touched since the last barrier: by the first worker alone, and by any. */
interface Touched {
  readonly first: { readonly reads: Set<number>; readonly writes: Set<number> };
  readonly any: { readonly reads: Set<number>; readonly writes: Set<number> };
}
const untouched = (): Touched => ({
  first: { reads: new Set(), writes: new Set() },
  any: { reads: new Set(), writes: new Set() },
});
const meet = (a: ReadonlySet<number>, b: Iterable<number>): boolean =>
  [...b].some((id) => a.has(id));

class Planner {
  counters = 0;
  #touched = untouched();
  /** Private buffers: every worker has its own. */
  readonly #own: ReadonlySet<number>;

  /** What else may lie where a temporary does. */
  readonly #sharers: ReadonlyMap<number, readonly number[]>;

  constructor(own: ReadonlySet<number>, sharers: ReadonlyMap<number, readonly number[]>) {
    this.#own = own;
    this.#sharers = sharers;
  }

  kernel(body: readonly Stmt[]): readonly Segment[] {
    const splits = splitLoops(body).length;
    const shareable = splits > 0 && this.counters + splits <= maxCounters && isShareable(body);
    return shareable ? this.#list(body) : this.#segment({ kind: 'first', list: body });
  }

  #list(list: readonly Stmt[]): Segment[] {
    const out: Segment[] = [];
    for (const s of list) {
      if (s.kind === 'comment') continue;
      for (const made of this.#statement(s)) {
        const last = out.at(-1);
        // Neighbours of a kind stay together, so that addresses computed for one serve the next.
        if ((made.kind === 'each' || made.kind === 'first') && last?.kind === made.kind)
          out[out.length - 1] = { kind: made.kind, list: [...last.list, ...made.list] };
        else out.push(made);
      }
    }
    return out;
  }

  #statement(s: Stmt): Segment[] {
    if (s.kind === 'for' && s.parallel) return this.#split(s);
    if (s.kind === 'if' && splitLoops([s]).length > 0) return this.#branch(s);
    const kind = effectsOf([s]).writes.size > 0 ? 'first' : 'each';
    return this.#segment({ kind, list: [s] });
  }

  /** Every worker takes the same branch; after it, what either side touched counts. */
  #branch(s: Extract<Stmt, { kind: 'if' }>): Segment[] {
    const out: Segment[] = this.#note('each', effectsOf([], [s.cond])) ? [{ kind: 'barrier' }] : [];
    const before = this.#touched;
    const side = (list: readonly Stmt[]): [Segment[], Touched] => {
      this.#touched = copyOf(before);
      return [this.#list(list), this.#touched];
    };
    const [yes, afterYes] = side(s.then);
    const [no, afterNo] = side(s.else);
    this.#touched = copyOf(afterYes, afterNo);
    out.push({ kind: 'branch', cond: s.cond, then: yes, else: no });
    return out;
  }

  /** The rest of a loop is often empty, and then nobody need wait for it. */
  #split(loop: ForLoop): Segment[] {
    const counter = this.counters++;
    const bounds = effectsOf([], [loop.start, loop.end]);
    const out: Segment[] = this.#note('each', bounds) ? [{ kind: 'barrier' }] : [];
    const before = this.#touched;
    this.#touched = copyOf(before);
    const wait = this.#note('split', effectsOf([loop]));
    // A barrier that may not happen settles nothing.
    if (wait) this.#touched = copyOf(before, this.#touched);
    out.push({ kind: 'split', loop, counter, wait });
    return out;
  }

  #segment(s: Extract<Segment, { kind: 'each' | 'first' }>): Segment[] {
    return this.#note(s.kind, effectsOf(s.list)) ? [{ kind: 'barrier' }, s] : [s];
  }

  /** Records what is touched next; true if the workers have to meet before. */
  #note(kind: 'each' | 'first' | 'split', e: Effects): boolean {
    const shared = (ids: Iterable<number>): number[] => [...ids].filter((id) => !this.#own.has(id));
    const [reads, writes] = [shared(e.reads), shared(e.writes)];
    // Who writes a temporary may write over others, which have had their last readers.
    const over = writes.flatMap((id) => [id, ...(this.#sharers.get(id) ?? [])]);
    const clash = (t: { reads: Set<number>; writes: Set<number> }): boolean =>
      meet(t.writes, reads) || meet(t.writes, over) || meet(t.reads, over);
    // One worker's own statements are in order.
    const wait = clash(this.#touched.any) || (kind !== 'first' && clash(this.#touched.first));
    if (wait) this.#touched = untouched();
    const to = kind === 'first' ? this.#touched.first : this.#touched.any;
    for (const id of reads) to.reads.add(id);
    for (const id of writes) to.writes.add(id);
    return wait;
  }
}

function copyOf(...list: readonly Touched[]): Touched {
  const out = untouched();
  for (const t of list)
    for (const who of ['first', 'any'] as const) {
      for (const id of t[who].reads) out[who].reads.add(id);
      for (const id of t[who].writes) out[who].writes.add(id);
    }
  return out;
}

/**
 * Whether variables mean the same on every worker: what is run by one worker, or shared out, assigns none that
 * lives outside of it.
 */
function isShareable(list: readonly Stmt[]): boolean {
  return list.every((s) => {
    if (s.kind === 'if' && splitLoops([s]).length > 0)
      return isShareable(s.then) && isShareable(s.else);
    const effects = effectsOf([s]);
    const everyone = effects.writes.size === 0 && !(s.kind === 'for' && s.parallel);
    return everyone || outerSets(effects).length === 0;
  });
}
