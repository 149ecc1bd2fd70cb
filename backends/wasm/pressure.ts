// How many vector registers the loops of a function want: values that are live at once, those on the stack and those in
// locals, f32 scalars too, which lie in the same registers. What a loop has no use for but carries across may rest in memory,
// and so is not counted there; neither is what only the loops inside of it use.
import { current, Node } from './tree.ts';

/** A loop of a function, by the order in which they begin. */
export interface LoopPressure {
  /** The most registers that are wanted at once by the loop's own code, that of the loops in it left out. */
  readonly most: number;
  /** Nodes in the loop's own code for which there is a key. */
  readonly kept: ReadonlyMap<string, readonly Node[]>;
}

/** What happens at one instruction. */
export interface Event {
  readonly kind: 'op' | 'loop' | 'end loop' | 'if' | 'else' | 'end if' | 'label' | 'branch';
  /** The instruction, of operations. */
  readonly node: Node | undefined;
  /** Nodes whose values, in locals that lie in vector registers, are used here. */
  readonly gets: readonly Node[];
  readonly sets: number | undefined;
  /** Values on the stack that are in no local, before it. */
  readonly stacked: number;
  /** The loop that it stands in, or -1. */
  readonly loop: number;
  /** Of labels and branches. */
  readonly label?: string;
  readonly always?: boolean;
}

export interface Pressure {
  readonly loops: readonly LoopPressure[];
  /** In the order in which they happen, and how many registers are wanted at each by its loop. */
  readonly events: readonly Event[];
  readonly wanted: readonly number[];
  /** Where things are: the events of loops, from the first to behind the last, and those at which kept nodes are made. */
  readonly place: {
    readonly loops: readonly (readonly [from: number, to: number])[];
    readonly of: ReadonlyMap<Node, { readonly at: number; readonly piece: number }>;
    /** In front of which events nodes read locals, in this order; what uses the values may come later. */
    readonly reads: ReadonlyMap<Node, number>;
  };
}

const isTest = /^f32\.(store|eq|ne|lt|gt|le|ge)$/;
const notVector = /extract_lane|all_true|any_true|bitmask|store/;
/** Whether an instruction gives a value that lies in a vector register. */
const givesRegister = (op: string): boolean =>
  op.startsWith('f32.')
    ? !isTest.test(op)
    : op === 'f32x4.extract_lane' ||
      ((op.startsWith('v128.') || /^[if]\d+x\d/.test(op)) && !notVector.test(op));

/** `isRegister`: whether a local lies in a vector register. `keyOf`: of nodes that are to be counted. */
export function pressureOf(
  root: Node,
  isRegister: (local: number) => boolean,
  keyOf: (n: Node) => string | undefined,
): Pressure {
  const walk = new Walk(isRegister, keyOf);
  walk.visit(root);
  const { events } = walk;
  const wanted = wantedAt(events, walk.loops.length);
  const most = walk.loops.map(() => 0);
  events.forEach(({ loop }, i) => {
    if (loop >= 0) most[loop] = Math.max(most[loop]!, wanted[i]!);
  });
  const loops = walk.loops.map((kept, i) => ({ most: most[i]!, kept }));
  return {
    loops,
    events,
    wanted,
    place: { loops: walk.spans, of: walk.places, reads: walk.reads },
  };
}

/** The local of a node that reads or sets one. */
export const localOf = (n: Node): number => n.args[0] as number;

/** The events of a function in the order in which they happen. */
class Walk {
  readonly events: Event[] = [];
  readonly loops: Map<string, Node[]>[] = [];
  readonly reads = new Map<Node, number>();
  readonly spans: [number, number][] = [];
  /** Events of kept nodes, and the straight pieces of code that these are in. */
  readonly places = new Map<Node, { at: number; piece: number }>();
  readonly #isRegister: (local: number) => boolean;
  readonly #keyOf: (n: Node) => string | undefined;
  /** A local that is read where the value is used, or undefined for a value of its own; other values are left out. */
  readonly #stack: (Node | undefined)[] = [];
  #temporaries = 0;
  #loop = -1;
  #piece = 0;

  constructor(isRegister: (local: number) => boolean, keyOf: (n: Node) => string | undefined) {
    this.#isRegister = isRegister;
    this.#keyOf = keyOf;
  }

  visit(node: Node): void {
    const n = current(node);
    switch (n.op) {
      case 'local.get':
        if (!this.#isRegister(localOf(n))) return;
        this.reads.set(n, this.events.length);
        this.#push(n);
        return;
      case 'block': {
        const [label, list] = n.args as [string | null, readonly Node[]];
        for (const c of list) this.visit(c);
        if (label) this.#add('label', { label });
        return;
      }
      case 'loop': {
        const [label, body] = n.args as [string, Node];
        const outer = this.#loop;
        this.#loop = this.loops.length;
        this.loops.push(new Map());
        const at = this.loops.length - 1;
        this.spans.push([this.events.length, 0]);
        this.#add('loop', { label });
        this.visit(body);
        this.#add('end loop', {});
        this.spans[at]![1] = this.events.length;
        this.#loop = outer;
        return;
      }
      case 'br':
        return this.#add('branch', { label: n.args[0] as string, always: true });
      case 'br_if':
        this.visit(n.args[1] as Node);
        return this.#add('branch', { label: n.args[0] as string });
      case 'if': {
        const [cond, yes, no] = n.args as [Node, Node, Node | undefined];
        this.visit(cond);
        this.#add('if', {});
        this.visit(yes);
        this.#add('else', {});
        if (no) this.visit(no);
        return this.#add('end if', {});
      }
    }
    this.#operation(n);
  }

  #operation(n: Node): void {
    const from = this.#stack.length;
    // A choice takes its condition last.
    const args = n.op === 'select' ? [...n.args.slice(1), n.args[0]] : n.args;
    for (const a of args) if (a instanceof Node) this.visit(a);
    const stacked = this.#temporaries;
    const gets: Node[] = [];
    const taken = this.#stack.length - from;
    while (this.#stack.length > from) {
      const x = this.#stack.pop();
      if (x === undefined) this.#temporaries -= 1;
      else gets.push(x);
    }
    const isSet = n.op === 'local.set' || n.op === 'local.tee';
    const local = isSet && this.#isRegister(localOf(n)) ? localOf(n) : undefined;
    this.events.push({ kind: 'op', node: n, gets, sets: local, stacked, loop: this.#loop });
    const key = this.#keyOf(n);
    if (key !== undefined && this.#loop >= 0) {
      const { [this.#loop]: kept } = this.loops;
      const list = kept!.get(key);
      this.places.set(n, { at: this.events.length - 1, piece: this.#piece });
      if (list) list.push(n);
      else kept!.set(key, [n]);
    }
    if (n.op === 'local.tee') {
      if (local !== undefined) this.#push(n);
    } else if (n.op === 'select' ? taken > 0 : givesRegister(n.op)) this.#push(undefined);
  }

  #push(value: Node | undefined): void {
    this.#stack.push(value);
    if (value === undefined) this.#temporaries += 1;
  }

  #add(kind: Event['kind'], more: Pick<Event, 'label' | 'always'>): void {
    const stacked = this.#temporaries;
    const loop = this.#loop;
    this.#piece += 1;
    this.events.push({ kind, node: undefined, gets: [], sets: undefined, stacked, loop, ...more });
  }
}

/** By loop, from the last event to the first, until what ends of loops hand to their beginnings is known. */
function wantedAt(events: readonly Event[], loops: number): readonly number[] {
  const touched = Array.from({ length: loops }, () => new Set<number>());
  for (const e of events)
    if (e.loop >= 0) {
      for (const u of e.gets) touched[e.loop]!.add(localOf(u));
      if (e.sets !== undefined) touched[e.loop]!.add(e.sets);
    }
  const atLabel = new Map<string, ReadonlySet<number>>();
  const none: ReadonlySet<number> = new Set();
  const wanted = new Array<number>(events.length).fill(0);
  let changed = true;
  while (changed) {
    changed = false;
    let live = new Set<number>();
    /** Behind an `if`, and in front of its `else`. */
    const joins: { readonly after: Set<number>; other?: Set<number> }[] = [];
    let [loop, count] = [-1, 0];
    for (let i = events.length - 1; i >= 0; i -= 1) {
      const e = events[i]!;
      const before = live;
      switch (e.kind) {
        case 'label':
          atLabel.set(e.label!, new Set(live));
          break;
        case 'branch': {
          const there = atLabel.get(e.label!) ?? none;
          live = e.always ? new Set(there) : new Set([...live, ...there]);
          break;
        }
        case 'loop': {
          if ((atLabel.get(e.label!) ?? none).size !== live.size) changed = true;
          atLabel.set(e.label!, new Set(live));
          break;
        }
        case 'end if':
          joins.push({ after: new Set(live) });
          break;
        case 'else': {
          const join = joins.at(-1)!;
          join.other = live;
          live = new Set(join.after);
          break;
        }
        case 'if':
          live = new Set([...live, ...joins.pop()!.other!]);
          break;
      }
      if (loop !== e.loop || before !== live) {
        loop = e.loop;
        count = 0;
        if (loop >= 0) for (const l of live) if (touched[loop]!.has(l)) count += 1;
      }
      let most = count;
      if (e.sets !== undefined) {
        if (live.delete(e.sets)) count -= 1;
        else most += 1;
      }
      for (const u of e.gets)
        if (!live.has(localOf(u))) {
          live.add(localOf(u));
          count += 1;
        }
      wanted[i] = Math.max(most, count + e.stacked);
    }
  }
  return wanted;
}
