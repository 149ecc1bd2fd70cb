// What can be said of a GPU's kernels without running them: how many bytes they read, against reading each of their
// parameters once; invocations, barriers and memory of a group. Counted over the statements at given sizes; where a loop or a
// branch depends on data, it is counted as one turn of everything.
import type { LaunchInfo, PolyCode } from '../artifact.ts';
import { dtypes } from '../ir/dtype.ts';
import { nested } from './walk.ts';
import { type Geometry, launchesOf } from './launches.ts';
import { type Buffer, type Expr, operands, type Program, type Spread, type Stmt } from './loops.ts';

export interface Figures {
  readonly name: string;
  readonly groups: number;
  readonly threads: number;
  /** Bytes of memory that a group shares. */
  readonly shared: number;
  /** Times that a thread meets the others of its group: at barriers, and to combine values. */
  readonly barriers: number;
  /** Bytes of what it reads of the caller's memory, the same bytes as often as they are read. */
  readonly read: number;
  /** Bytes of those buffers: what reading each once would take. */
  readonly floor: number;
  /** The largest of them, and how often each of its bytes is read: of a product with few rows, the weights. */
  readonly largest: { readonly name: string; readonly times: number } | undefined;
  readonly written: number;
  /** Elements that it writes. */
  readonly outputs: number;
}

type Sizes = Readonly<Record<string, number>>;

function polyValue(code: PolyCode, sizes: Sizes): number {
  const stack: number[] = [];
  for (const c of code) {
    if (typeof c === 'number') stack.push(c);
    else if (!['+', '*', '/', 'div'].includes(c)) stack.push(sizes[c]!);
    else {
      const [b, a] = [stack.pop()!, stack.pop()!];
      stack.push(c === '+' ? a + b : c === '*' ? a * b : c === '/' ? a / b : Math.floor(a / b));
    }
  }
  return stack[0]!;
}

/** Integers that follow from the sizes; undefined where data decides. */
class Known {
  readonly #sizes: Sizes;
  readonly #vars = new Map<number, number>();
  constructor(sizes: Sizes) {
    this.#sizes = sizes;
  }
  set(id: number, value: number | undefined): void {
    if (value === undefined) this.#vars.delete(id);
    else this.#vars.set(id, value);
  }
  of(e: Expr): number | undefined {
    switch (e.kind) {
      case 'const':
        return e.value;
      case 'dim':
        return this.#sizes[e.name];
      case 'var':
        return this.#vars.get(e.var.id);
      case 'select': {
        const c = this.of(e.c);
        return c === undefined ? undefined : this.of(c ? e.a : e.b);
      }
      case 'compare':
      case 'binary': {
        const [a, b] = [this.of(e.a), this.of(e.b)];
        if (a === undefined || b === undefined || e.a.type.scalar === 'f32') return undefined;
        return operate[e.op]?.(a, b);
      }
      default:
        return undefined;
    }
  }
}

const operate: Readonly<Record<string, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  sub: (a, b) => a - b,
  mul: (a, b) => a * b,
  div: (a, b) => (b === 0 ? 0 : Math.trunc(a / b)),
  rem: (a, b) => (b === 0 ? 0 : a % b),
  min: Math.min,
  max: Math.max,
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  shl: (a, b) => a << b,
  shr: (a, b) => a >> b,
  eq: (a, b) => Number(a === b),
  ne: (a, b) => Number(a !== b),
  lt: (a, b) => Number(a < b),
  le: (a, b) => Number(a <= b),
  gt: (a, b) => Number(a > b),
  ge: (a, b) => Number(a >= b),
};

interface Count {
  written: number;
  outputs: number;
  barriers: number;
  /** Bytes read, by buffer. */
  readonly buffers: Map<Buffer, number>;
}

/** Iterations of a thread, and the threads of a group, that are looked at one by one. */
const mostTurns = 512;
const oneByOne: ReadonlySet<Spread | undefined> = new Set([undefined, 'members']);
const branches = (s: Stmt): boolean =>
  s.kind === 'if' || nested(s).some((list) => list.some(branches));

const isCallers = (b: Buffer): boolean => b.role !== 'group' && b.role !== 'thread';

function walk(body: readonly Stmt[], known: Known, count: Count): void {
  const visit = (list: readonly Stmt[], times: number, groups: number): void => {
    // A value that is used twice in a statement is read once.
    const seen = new Set<Expr>();
    const reads = (e: Expr): void => {
      if (seen.has(e)) return;
      seen.add(e);
      if ((e.kind === 'load' || e.kind === 'gather') && isCallers(e.buffer)) {
        const bytes = (times * e.type.lanes * dtypes[e.buffer.dtype].bits) / 8;
        count.buffers.set(e.buffer, (count.buffers.get(e.buffer) ?? 0) + bytes);
      }
      operands(e).forEach(reads);
    };
    for (const s of list) {
      if ('value' in s) reads(s.value);
      if (s.kind === 'let' || s.kind === 'local') known.set(s.var.id, known.of(s.value));
      if (s.kind === 'set') known.set(s.var.id, undefined);
      if (s.kind === 'barrier' || s.kind === 'combine') count.barriers += times / groups;
      if (s.kind === 'copy') {
        const bytes = (times * s.count * dtypes[s.from.dtype].bits) / 8;
        count.buffers.set(s.from, (count.buffers.get(s.from) ?? 0) + bytes);
      }
      if (s.kind === 'store') {
        reads(s.index);
        const lanes = s.value.type.lanes;
        if (isCallers(s.buffer)) {
          count.written += (times * lanes * dtypes[s.buffer.dtype].bits) / 8;
          count.outputs += times * lanes;
        }
      }
      if (s.kind === 'for') {
        const [start, end] = [known.of(s.start), known.of(s.end)];
        const turns =
          start === undefined || end === undefined
            ? 1
            : Math.max(0, Math.floor((end - start) / s.step));
        known.set(s.var.id, start);
        // A meeting is one for all who share the iterations.
        const apart =
          s.on === 'groups' || s.on === 'warps' || s.on === 'grid' || s.on === 'members';
        const inner = apart ? groups * turns : groups;
        // Where it may depend on the iteration what runs, each is looked at.
        if (
          turns <= mostTurns &&
          start !== undefined &&
          oneByOne.has(s.on) &&
          s.body.some(branches)
        )
          for (let i = 0; i < turns; i += 1) {
            known.set(s.var.id, start + i * s.step);
            visit(s.body, times, inner);
          }
        else if (turns > 0) visit(s.body, times * turns, inner);
      }
      if (s.kind === 'if') {
        reads(s.cond);
        const c = known.of(s.cond);
        if (c !== 0) visit(s.then, times, groups);
        if (!c) visit(s.else, times, groups);
      }
      if (s.kind === 'while') {
        visit(s.header, times, groups);
        visit(s.body, times, groups);
      }
    }
  };
  visit(body, 1, 1);
}

const alone = { threads: 1, iterations: 1 } as const;
const geometry: Geometry = { grid: alone, groups: alone, warps: alone };

/** `launches`: those that the backend made of the program. Gives those that run at these sizes. */
export function figuresOf(
  program: Program,
  launches: readonly LaunchInfo[],
  sizes: Sizes,
): readonly Figures[] {
  const bodies = launchesOf(program, geometry);
  return launches.flatMap((l, i): Figures[] => {
    if (l.when.some((w) => polyValue(w, sizes) <= 0)) return [];
    const count: Count = { written: 0, outputs: 0, barriers: 0, buffers: new Map() };
    walk(bodies[i]!.body, new Known(sizes), count);
    const bytes = (b: Buffer): number =>
      (b.size.evaluate((a) => sizes[a.key] ?? 0) * dtypes[b.dtype].bits) / 8;
    const all = [...count.buffers].map(([b, read]) => ({ b, read, once: bytes(b) }));
    const largest = all.reduce<(typeof all)[number] | undefined>(
      (best, x) => (best && best.once >= x.once ? best : x),
      undefined,
    );
    const own = bodies[i]!.inner.filter((b) => b.role === 'group');
    return [
      {
        name: l.name,
        groups: l.grid.reduce((n, g) => n * polyValue(g, sizes), 1),
        threads: l.block.reduce((n, b) => n * b, 1),
        shared: Math.max(
          polyValue(l.shared, sizes),
          own.reduce((n, b) => n + bytes(b), 0),
        ),
        barriers: count.barriers,
        read: all.reduce((n, x) => n + x.read, 0),
        floor: all.reduce((n, x) => n + x.once, 0),
        largest: largest && { name: largest.b.name, times: largest.read / largest.once },
        written: count.written,
        outputs: count.outputs,
      },
    ];
  });
}

/** One line a kernel. */
export function figuresText(list: readonly Figures[]): string {
  const rows = list.map((f) => [
    f.name,
    `${f.groups} x ${f.threads}`,
    `${f.shared}`,
    `${Math.round(f.barriers)}`,
    (f.read / Math.max(1, f.outputs)).toFixed(1),
    (f.floor / Math.max(1, f.outputs)).toFixed(1),
    f.largest ? `${f.largest.name} ${f.largest.times.toFixed(2)} times` : '-',
  ]);
  const head = [
    'kernel',
    'groups x threads',
    'group memory',
    'barriers',
    'bytes read an output',
    'once each',
    'largest is read',
  ];
  const all = [head, ...rows];
  const widths = head.map((_, i) => Math.max(...all.map((r) => r[i]!.length)));
  return all
    .map((r) => r.map((c, i) => (i ? c.padStart(widths[i]!) : c.padEnd(widths[i]!))).join('  '))
    .join('\n');
}
