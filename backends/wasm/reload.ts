// Values that are read from memory, perhaps with an operation or two on top, and are wanted again much later: where a loop has
// too few registers they are read again in place of being kept. V8 would write them to its stack and read them from there.
import type { WasmType } from './binaryen.ts';
import { type Event, localOf, type Pressure, pressureOf } from './pressure.ts';
import { Constant, constantKey, type Locals, vectorRegisters } from './constants.ts';
import { current, Node } from './tree.ts';

/** Operations that are done again, besides loads. */
const mostAgain = 2;
/** The price of making a value later than it was. */
const moved = 0.5;
/** Registers that values besides constants are left at least. */
const fewest = 9;

/** Whether memory that is reached from two sets of addresses may be the same. */
export type MayMeet = (a: ReadonlySet<number>, b: ReadonlySet<number>) => boolean;

/** A stretch in which a value waits: from one event to the next that wants it. */
interface Wait {
  readonly value: number;
  readonly from: number;
  readonly to: number;
  /** Of making the value again; of one that may as well be made only where it is first wanted, less than that of any other. */
  readonly cost: number;
}

/** What a loop gains by some of its waits: those that end early, what that costs, and the registers that it wants then. */
interface Plan {
  readonly ended: readonly Wait[];
  readonly cost: number;
  readonly most: number;
}

/**
 * Changes the tree so that its loops want fewer registers: no more than there are, if that is to be had, and fewer where a
 * constant that would have to be loaded often can be kept instead.
 */
export function reload(root: Node, locals: Locals, mayMeet: MayMeet): void {
  const isRegister = (l: number): boolean => locals.isRegister(l);
  const pressure = pressureOf(root, isRegister, constantKey);
  const { loops } = pressure;
  if (loops.every(({ most, kept }) => most + kept.size <= vectorRegisters)) return;
  const code = new Code(pressure, locals, mayMeet);
  const waits = code.waits();
  const best = loops.map(
    (): { readonly plan: Plan; readonly cost: number } | undefined => undefined,
  );
  for (let limit = vectorRegisters; limit >= fewest; limit -= 1)
    plansFor(limit, pressure, code, waits).forEach((plan, i) => {
      const uses = [...loops[i]!.kept.values()].map((n) => n.length).sort((x, y) => y - x);
      const loaded = uses.slice(Math.max(0, vectorRegisters - plan.most));
      const cost = loaded.reduce((sum, n) => sum + n, plan.cost);
      const isBetter = plan.most <= vectorRegisters && cost < (best[i]?.cost ?? Infinity);
      if (isBetter || limit === vectorRegisters) best[i] = { plan, cost };
    });
  const again = new Map<number, Set<number>>();
  for (const { value, to } of best.flatMap((b) => b!.plan.ended)) {
    const places = again.get(value) ?? new Set();
    again.set(value, places.add(to));
  }
  const left = [...again].map(([value, places]) => code.makeAgain(value, places));
  const read = new Set<number>();
  readBy(root, read);
  // What is left of a value that nobody wants any more: the addresses that were kept on the way.
  for (const set of left)
    if (set.op === 'local.set' && !read.has(localOf(set)))
      set.instead = new Node('block', [null, setsIn(set.args[1] as Node)]);
}

/** For each loop, what brings it as far down to a limit as may be. */
function plansFor(
  limit: number,
  { events, wanted, loops }: Pressure,
  code: Code,
  waits: readonly Wait[],
): readonly Plan[] {
  const still = [...wanted];
  const ended: Wait[][] = loops.map(() => []);
  // By where they begin; those that are over are dropped.
  let open: Wait[] = [];
  let next = 0;
  for (let i = 0; i < events.length; i += 1) {
    while (next < waits.length && waits[next]!.from < i) open.push(waits[next++]!);
    const { loop } = events[i]!;
    if (loop < 0 || still[i]! <= limit) continue;
    open = open.filter((w) => w.to > i);
    while (still[i]! > limit && open.length > 0) {
      // What is wanted last, or sooner but made more easily.
      const best = open.reduce((a, b) => ((b.to - i) / b.cost > (a.to - i) / a.cost ? b : a));
      open.splice(open.indexOf(best), 1);
      if (!code.canMakeAgain(best)) continue;
      for (let k = best.from + 1; k < best.to; k += 1) still[k]! -= 1;
      ended[loop]!.push(best);
    }
  }
  const most = loops.map(() => 0);
  events.forEach(({ loop }, i) => {
    if (loop >= 0) most[loop] = Math.max(most[loop]!, still[i]!);
  });
  return ended.map((list, i) => ({
    ended: list,
    cost: list.reduce((sum, w) => sum + w.cost, 0),
    most: most[i]!,
  }));
}

/**
 * Lets constants that stand in front of a long operand wait for it no longer: the operand is made first. A constant that is
 * loaded would take a register meanwhile.
 */
export function constantsLate(root: Node, locals: Locals): void {
  const n = current(root);
  for (const a of n.args)
    for (const c of Array.isArray(a) ? a : [a]) if (c instanceof Node) constantsLate(c, locals);
  const [constant, other, ...more] = n.args;
  if (!(constant instanceof Constant) || !(other instanceof Node) || more.length > 0) return;
  if (/^local\.get|const$/.test(current(other).op)) return;
  const at = locals.fresh(locals.v128);
  const made = new Node(n.op, [constant, new Node('local.get', [at, locals.v128])], n.make);
  n.instead = new Node('block', [null, [new Node('local.set', [at, other]), made], locals.v128]);
}

/** A function as its events, and what is known of its locals. */
class Code {
  readonly #events: readonly Event[];
  readonly #locals: Locals;
  readonly #mayMeet: MayMeet;
  /** Events that set a local. */
  readonly #sets = new Map<number, number[]>();
  /** Nodes that read a local, in order: in front of which event, and for which one. */
  readonly #gets = new Map<
    number,
    { readonly at: number; readonly until: number; readonly node: Node }[]
  >();
  /** Events that write memory, and the buffers that they may write. */
  readonly #stores: { readonly at: number; readonly into: ReadonlySet<number> }[] = [];
  /** Straight pieces of code, by event. */
  readonly #piece: number[] = [];
  /** Buffers whose addresses a local may hold. */
  readonly #buffers = new Map<number, Set<number>>();

  constructor({ events, place }: Pressure, locals: Locals, mayMeet: MayMeet) {
    this.#events = events;
    this.#locals = locals;
    this.#mayMeet = mayMeet;
    const assigned: [number, Node][] = [];
    const wanted = new Map<Node, number>();
    let piece = 0;
    events.forEach(({ kind, node, gets }, at) => {
      if (kind !== 'op') piece += 1;
      this.#piece.push(piece);
      for (const g of gets) wanted.set(g, at);
      if (node?.op !== 'local.set' && node?.op !== 'local.tee') return;
      this.#list(this.#sets, localOf(node)).push(at);
      assigned.push([localOf(node), node.args[1] as Node]);
    });
    for (const [node, at] of place.reads) {
      const until = wanted.get(node);
      if (until !== undefined) this.#list(this.#gets, localOf(node)).push({ at, until, node });
    }
    // Addresses are made of others, in no certain order.
    for (let before = -1, now = 0; before !== now; ) {
      before = now;
      now = 0;
      for (const [local, value] of assigned) {
        const all = this.#buffers.get(local) ?? new Set();
        for (const b of this.#reached(value)) all.add(b);
        this.#buffers.set(local, all);
        now += all.size;
      }
    }
    events.forEach(({ node }, at) => {
      if (node && /store|atomic|call/.test(node.op)) {
        const into = node.args.flatMap((a) => (a instanceof Node ? [...this.#reached(a)] : []));
        this.#stores.push({ at, into: new Set(into) });
      }
    });
  }

  #list<T>(of: Map<number, T[]>, local: number): T[] {
    const list = of.get(local) ?? [];
    of.set(local, list);
    return list;
  }

  /** Buffers whose addresses are part of a value. */
  #reached(e: Node): ReadonlySet<number> {
    const n = current(e);
    if (n.op === 'local.get') {
      const at = localOf(n);
      return this.#locals.isBuffer(at) ? new Set([at]) : (this.#buffers.get(at) ?? new Set());
    }
    if (n.op.includes('load')) return new Set();
    return new Set(n.args.flatMap((a) => (a instanceof Node ? [...this.#reached(a)] : [])));
  }

  /** Where values wait that could be made again. */
  waits(): readonly Wait[] {
    const out: Wait[] = [];
    for (const [value, gets] of this.#gets) {
      const cost = this.#costOf(value);
      if (cost === undefined) continue;
      const made = this.#sets.get(value)![0]!;
      const { loop } = this.#events[made]!;
      if (gets.some((g) => g.at <= made || this.#events[g.until]!.loop !== loop)) continue;
      let from = made;
      for (const { at: to, until } of gets) {
        const price = from === made ? moved : cost;
        if (to > from + 1 && price < Infinity) out.push({ value, from, to, cost: price });
        from = Math.max(from, until);
      }
    }
    return out.sort((a, b) => a.from - b.from);
  }

  /** What a local is set to, if that happens once. */
  #madeBy(value: number): Node | undefined {
    const sets = this.#sets.get(value) ?? [];
    const [at] = sets;
    if (sets.length !== 1 || this.#events[at!]!.loop < 0) return undefined;
    return this.#events[at!]!.node!.args[1] as Node;
  }

  /** What making a value again takes: too much, if none of it is read from memory. Undefined if it can be made but once. */
  #costOf(value: number): number | undefined {
    let [loads, operations] = [0, 0];
    const visit = (e: Node): boolean => {
      const n = current(e);
      if (n.op === 'local.get' || n.op === 'local.tee') {
        const isRegister = this.#locals.isRegister(localOf(n));
        if (isRegister && n.op === 'local.tee') return false;
        const inner = isRegister && this.#madeBy(localOf(n));
        return inner && isAgain(inner) ? visit(inner) : true;
      }
      if (isLoad(n)) loads += 1;
      else if (!isPure(n)) return false;
      else if (!isOfAddresses(n)) operations += 1;
      return n.args.every((a) => !(a instanceof Node) || visit(a));
    };
    const made = this.#madeBy(value);
    if (!made || !visit(made)) return undefined;
    return loads > 0 && operations <= mostAgain ? loads + operations : Infinity;
  }

  /** Whether a value is the same if it is made where the wait ends. */
  canMakeAgain({ value, to }: Pick<Wait, 'value' | 'to'>): boolean {
    const from = this.#sets.get(value)![0]!;
    const { loop } = this.#events[to]!;
    const isSame = (e: Node): boolean => {
      const n = current(e);
      if (n.op === 'local.get' || n.op === 'local.tee') {
        const at = localOf(n);
        const sets = this.#sets.get(at) ?? [];
        if (sets.some((s) => s > from && s <= to)) return false;
        if (!this.#locals.isRegister(at)) return true;
        const inner = this.#madeBy(at);
        if (inner && isAgain(inner)) return this.canMakeAgain({ value: at, to });
        // A register that is kept for this would be none gained.
        const isKept = this.#gets.get(at)!.some((g) => g.until >= to);
        return isKept || sets.every((s) => this.#events[s]!.loop !== loop);
      }
      if (isLoad(n)) {
        const buffers = this.#reached(n.args.at(-1) as Node);
        const isWritten = this.#stores.some(
          (s) => s.at > from && s.at <= to && this.#mayMeet(s.into, buffers),
        );
        if (isWritten) return false;
      }
      return n.args.every((a) => !(a instanceof Node) || isSame(a));
    };
    return isSame(this.#madeBy(value)!);
  }

  /**
   * Makes a value again where it is wanted at `places`, for those who want it from there on to the next place. Returns what
   * sets it at first.
   */
  makeAgain(value: number, places: ReadonlySet<number>): Node {
    const made = this.#madeBy(value)!;
    const cost = this.#costOf(value)!;
    let local = value;
    let from = -1;
    for (const { at, node } of this.#gets.get(value)!) {
      const type = node.args.at(-1) as WasmType;
      const isApart = local !== value && this.#piece[at] !== this.#piece[from];
      const isPlace = places.has(at) && at !== from;
      const isAgain = isApart && cost < Infinity && this.canMakeAgain({ value, to: at });
      if (isPlace || isAgain) {
        local = this.#locals.fresh(type);
        node.instead = new Node('local.tee', [local, this.#copied(made), type]);
        from = at;
      } else if (isApart) local = value;
      else if (local !== value) node.instead = new Node('local.get', [local, type]);
    }
    return this.#events[this.#sets.get(value)![0]!]!.node!;
  }

  #copied(e: Node): Node {
    const n = current(e);
    if (n instanceof Constant) return new Constant(n.bytes);
    if (n.op === 'local.tee' || n.op === 'local.get') {
      const at = localOf(n);
      const inner = this.#locals.isRegister(at) && this.#madeBy(at);
      return inner && isAgain(inner)
        ? this.#copied(inner)
        : new Node('local.get', [at, n.args.at(-1)]);
    }
    const args = n.args.map((a) => (a instanceof Node ? this.#copied(a) : a));
    return new Node(n.op, args, n.make);
  }
}

const isLoad = (n: Node): boolean =>
  /^(v128|f32|i32)\.load(32_splat|8_u|8_s|16_u|16_s)?$/.test(n.op);
const isPure = (n: Node): boolean =>
  /^(v128|f32|i32|[if]\d+x\d+)\./.test(n.op) && !/load|store|atomic/.test(n.op);
const isOfAddresses = (n: Node): boolean => /^i32\.|^v128\.const/.test(n.op);
/** Whether a value is read anew in place of being kept for others that are made again: a load, or the like. */
const isAgain = (made: Node): boolean => isLoad(current(made));

/** Addresses that are kept while a value is made. */
function setsIn(made: Node): Node[] {
  const n = current(made);
  const inner = n.args.flatMap((a) => (a instanceof Node ? setsIn(a) : []));
  return n.op === 'local.tee' ? [new Node('local.set', [n.args[0], n.args[1]])] : inner;
}

/** Locals that are read. */
function readBy(root: Node, read: Set<number>): void {
  const n = current(root);
  if (n.op === 'local.get') read.add(localOf(n));
  for (const a of n.args)
    for (const c of Array.isArray(a) ? a : [a]) if (c instanceof Node) readBy(c, read);
}
