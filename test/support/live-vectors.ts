// Vector registers that loops of WebAssembly text want at once: locals that the loop reads or sets, and what lies on the
// stack; f32 scalars count, which lie in the same registers. A value that a loop only carries across may rest in memory.

type Node = readonly (string | Node)[];

function parse(text: string): Node {
  const stack: (string | Node)[][] = [[]];
  for (const [token] of text.replace(/;;.*/g, '').matchAll(/\(|\)|"[^"]*"|[^\s()]+/g)) {
    if (token === '(') stack.push([]);
    else if (token === ')') {
      const done = stack.pop()!;
      stack.at(-1)!.push(done);
    } else stack.at(-1)!.push(token);
  }
  return stack[0]![0] as Node;
}

const children = (n: Node): readonly Node[] => n.filter((c) => typeof c !== 'string') as Node[];
const opOf = (n: Node): string => n[0] as string;
const holds = (n: Node, is: (op: string) => boolean): boolean =>
  is(opOf(n)) || children(n).some((c) => holds(c, is));

const givesVector = (op: string): boolean =>
  (op.startsWith('v128.') && !op.startsWith('v128.store') && op !== 'v128.any_true') ||
  (/^[if]\d+x\d+\./.test(op) && !/extract_lane|all_true|bitmask/.test(op));
const givesFloat = (op: string): boolean =>
  /^f32\.(?!(store|eq|ne|lt|gt|le|ge)$)/.test(op) || op === 'f32x4.extract_lane';

/** Loops with an instruction of some kind that have no loop with vectors in them. */
function innermost(n: Node, wanted: (op: string) => boolean): readonly Node[] {
  const inner = children(n).flatMap((c) => innermost(c, wanted));
  const isVectorLoop = (c: Node): boolean =>
    (opOf(c) === 'loop' && holds(c, givesVector)) || children(c).some(isVectorLoop);
  const isLeaf = !children(n).some(isVectorLoop);
  return opOf(n) === 'loop' && isLeaf && holds(n, wanted) ? [n] : inner;
}

/** An instruction, and those that may come after it. */
interface Step {
  readonly uses: readonly string[];
  readonly sets: string | undefined;
  /** Values on the stack that are in no local, before it. */
  readonly stacked: number;
  readonly next: number[];
}

/** The instructions of a loop in order. */
class Steps {
  readonly list: Step[] = [];
  readonly #isRegister: (local: string) => boolean;
  /** A local that is read where the value is used, or undefined for a value of its own; other values are left out. */
  #stack: (string | undefined)[] = [];
  readonly #starts = new Map<string, number>();
  /** Steps that go to the end of a block. */
  readonly #leaving = new Map<string, Step[]>();

  constructor(loop: Node, isRegister: (local: string) => boolean) {
    this.#isRegister = isRegister;
    this.#visit(loop);
  }

  #visit(n: Node): void {
    const op = opOf(n);
    const inner = children(n).filter((c) => opOf(c) !== 'result');
    const label = typeof n[1] === 'string' ? n[1] : '';
    switch (op) {
      case 'local.get':
        if (this.#isRegister(label)) this.#stack.push(label);
        return;
      case 'loop':
        this.#starts.set(label, this.list.length);
        this.#add([], undefined);
        for (const c of inner) this.#visit(c);
        return;
      case 'block':
        this.#leaving.set(label, []);
        for (const c of inner) this.#visit(c);
        for (const s of this.#leaving.get(label)!) s.next.push(this.list.length);
        this.#add([], undefined);
        return;
      case 'br':
      case 'br_if': {
        for (const c of inner) this.#visit(c);
        const step = this.#add([], undefined);
        if (op === 'br') step.next.length = 0;
        const start = this.#starts.get(label);
        if (start !== undefined) step.next.push(start);
        else this.#leaving.get(label)?.push(step);
        return;
      }
      case 'if':
        return this.#branch(n, inner);
    }
    const before = this.#stack.length;
    for (const c of inner) this.#visit(c);
    const sets = (op === 'local.set' || op === 'local.tee') && this.#isRegister(label);
    const uses = this.#stack.slice(before).filter((x) => x !== undefined);
    this.#add(uses, sets ? label : undefined);
    const isAny = op === 'select' && this.#stack.length > before;
    this.#stack.length = before;
    if (op === 'local.tee' && sets) this.#stack.push(label);
    else if (op !== 'local.tee' && (isAny || givesVector(op) || givesFloat(op)))
      this.#stack.push(undefined);
  }

  #branch(n: Node, [cond, yes, no]: readonly Node[]): void {
    this.#visit(cond!);
    const fork = this.#add([], undefined);
    const depth = this.#stack.length;
    for (const c of children(yes!)) this.#visit(c);
    this.#stack.length = depth;
    const end = this.#add([], undefined);
    fork.next.push(this.list.length);
    if (no) for (const c of children(no)) this.#visit(c);
    this.#stack.length = depth;
    end.next[0] = this.list.length;
    this.#add([], undefined);
    const type = children(n).find((c) => opOf(c) === 'result')?.[1];
    if (type === 'v128' || type === 'f32') this.#stack.push(undefined);
  }

  #add(uses: readonly string[], sets: string | undefined): Step {
    const stacked = this.#stack.filter((x) => x === undefined).length;
    const step = { uses, sets, stacked, next: [this.list.length + 1] };
    this.list.push(step);
    return step;
  }
}

/** The most registers that a loop wants at once. */
function mostLive(loop: Node, isRegister: (local: string) => boolean): number {
  const { list } = new Steps(loop, isRegister);
  /** Live in front of each step. Sets that do not change are shared. */
  const live: ReadonlySet<string>[] = list.map(() => new Set());
  const none: ReadonlySet<string> = new Set();
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = list.length - 1; i >= 0; i -= 1) {
      const { uses, sets, next } = list[i]!;
      const [first = none, ...more] = next.map((t) => live[t] ?? none);
      const isSame = more.length === 0 && sets === undefined && uses.every((u) => first.has(u));
      const before = new Set(isSame ? none : first);
      for (const other of more) for (const l of other) before.add(l);
      if (sets !== undefined) before.delete(sets);
      for (const u of uses) before.add(u);
      const now = isSame ? first : before;
      if (now.size !== live[i]!.size) changed = true;
      live[i] = now;
    }
  }
  const wanted = list.map(({ stacked, sets, next }, i) => {
    const after = next.flatMap((t) => [...(sets ? (live[t] ?? none) : [])]);
    // What is set for nobody takes a register all the same.
    const unread = sets !== undefined && !after.includes(sets) ? 1 : 0;
    return Math.max(live[i]!.size + stacked, new Set(after).size + unread);
  });
  return Math.max(0, ...wanted);
}

/** For each innermost loop with an instruction whose name matches: how many vectors are live at most. */
export function liveVectors(wasmText: string, wanted: RegExp): readonly number[] {
  return children(parse(wasmText))
    .filter((f) => opOf(f) === 'func')
    .flatMap((f) => {
      const types = new Map(
        children(f)
          .filter((c) => opOf(c) === 'local' || opOf(c) === 'param')
          .map((c) => [c[1] as string, c[2] as string]),
      );
      const isRegister = (local: string): boolean => /^(v128|f32)$/.test(types.get(local) ?? '');
      return innermost(f, (op) => wanted.test(op)).map((l) => mostLive(l, isRegister));
    });
}
