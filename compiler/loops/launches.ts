// Kernels of loop IR as launches: one for each loop over the grid, groups or warps at the top of a kernel. What stands
// in front of such a loop is computed by every thread again, as far as the loop needs it.
import type { PolyCode } from '../artifact.ts';
import { CompileError, diagnostic, noSpan, type Span } from '../diagnostics/diagnostic.ts';
import { nested } from './walk.ts';
import {
  type Buffer,
  type Expr,
  type Kernel,
  operands,
  type Program,
  type Spread,
  type Stmt,
} from './loops.ts';

export interface Launch {
  readonly name: string;
  readonly schedule: string;
  /** What the author wrote. */
  readonly span?: Span;
  readonly body: readonly Stmt[];
  readonly grid: PolyCode;
  /** It is for sizes at which all of these are above 0. */
  readonly when: readonly PolyCode[];
  readonly threads: number;
  /** Memory of the caller that it touches, and memory within it. */
  readonly buffers: readonly Buffer[];
  readonly inner: readonly Buffer[];
  readonly written: ReadonlySet<number>;
  readonly dims: readonly string[];
}

type Loop = Extract<Stmt, { kind: 'for' }>;
/** The loops that become launches. */
export type Outermost = Exclude<Spread, 'threads' | 'lanes' | 'members'>;
/** For each kind of loop, the threads of a block, and how many iterations a block takes. */
export type Geometry = {
  readonly [S in Outermost]: { readonly threads: number; readonly iterations: number };
};

const fault = (detail: string): CompileError =>
  new CompileError([diagnostic('Q9001', noSpan, { detail })]);

export function launchesOf(program: Program, geometry: Geometry): readonly Launch[] {
  const out: Launch[] = [];
  const taken = new Set<string>();
  const unique = (wish: string): string => {
    const base = wish.replace(/\W+/g, '_').replace(/^(?=\d)/, 'k');
    let name = base;
    for (let i = 1; taken.has(name); i += 1) name = `${base}_${i}`;
    taken.add(name);
    return name;
  };
  for (const k of program.kernels) {
    const name = `${program.name}_${k.name}`;
    const before: Stmt[] = [];
    let mapped = 0;
    const take = (
      list: readonly Stmt[],
      known: readonly Stmt[],
      when: readonly Condition[],
    ): void => {
      const own: Stmt[] = [...known];
      for (const s of list) {
        if (s.kind === 'for' && s.on) {
          mapped += 1;
          out.push(
            launch(program, geometry, k, unique(name), [...needed(own, s), s], s, own, when),
          );
        } else if (s.kind === 'if' && hasMapped(s)) {
          take(s.then, own, [...when, { cond: s.cond, holds: true }]);
          take(s.else, own, [...when, { cond: s.cond, holds: false }]);
        } else if (hasStore(s) && k.body.some(hasMapped))
          throw fault('a store outside of the loops of a kernel');
        else {
          own.push(s);
          before.push(s);
        }
      }
    };
    take(k.body, [], []);
    if (mapped === 0)
      out.push(launch(program, geometry, k, unique(name), k.body, undefined, before, []));
  }
  return out;
}

const hasMapped = (s: Stmt): boolean =>
  (s.kind === 'for' && s.on !== undefined) || nested(s).some((list) => list.some(hasMapped));
const hasStore = (s: Stmt): boolean =>
  s.kind === 'store' || nested(s).some((list) => list.some(hasStore));

function launch(
  program: Program,
  geometry: Geometry,
  k: Kernel,
  name: string,
  body: readonly Stmt[],
  loop: Loop | undefined,
  before: readonly Stmt[],
  when: readonly Condition[],
): Launch {
  const use = usesOf(body);
  const all = program.buffers.filter((b) => use.buffers.has(b.id));
  const of = loop && geometry[loop.on as Outermost];
  return {
    name,
    schedule: k.schedule,
    ...(k.span ? { span: k.span } : {}),
    body,
    written: use.written,
    grid: loop && of ? blocks(loop, before, of.iterations) : [1],
    when: when.map((c) => positive(c, envOf(before))),
    threads: of?.threads ?? 1,
    buffers: all.filter((b) => b.role !== 'group' && b.role !== 'thread'),
    inner: all.filter((b) => b.role === 'group' || b.role === 'thread'),
    dims: program.dims.filter((d) => use.dims.has(d)),
  };
}

/** Blocks of a launch: iterations by block, rounded up. */
function blocks(s: Loop, before: readonly Stmt[], iterations: number): PolyCode {
  const env = envOf(before);
  const [from, to] = [code(s.start, env), code(s.end, env)];
  const span: PolyCode = from.length === 1 && from[0] === 0 ? to : [...to, ...from, -1, '*', '+'];
  const each = iterations * s.step;
  return each === 1 ? span : [...span, each - 1, '+', each, 'div'];
}

const envOf = (before: readonly Stmt[]): ReadonlyMap<number, Expr> =>
  new Map(before.flatMap((b) => (b.kind === 'let' ? [[b.var.id, b.value] as const] : [])));

/** A comparison of sizes that decides about a launch. */
interface Condition {
  readonly cond: Expr;
  readonly holds: boolean;
}

/** What is above 0 when the condition is met. */
function positive({ cond, holds }: Condition, env: ReadonlyMap<number, Expr>): PolyCode {
  if (cond.kind !== 'compare' || (cond.op !== 'lt' && cond.op !== 'ge'))
    throw fault('a launch depends on no comparison of sizes');
  const [a, b] = [code(cond.a, env), code(cond.b, env)];
  // a < b: b - a; a >= b: a - b + 1.
  return (cond.op === 'lt') === holds
    ? [...b, ...a, -1, '*', '+']
    : [...a, ...b, -1, '*', '+', 1, '+'];
}

/** A size in dims as postfix code. */
function code(e: Expr, env: ReadonlyMap<number, Expr>): PolyCode {
  const both = (a: Expr, b: Expr, op: string): PolyCode => [...code(a, env), ...code(b, env), op];
  switch (e.kind) {
    case 'const':
      return [e.value];
    case 'dim':
      return [e.name];
    case 'var': {
      const value = env.get(e.var.id);
      if (value) return code(value, env);
      break;
    }
    case 'binary':
      if (e.op === 'add') return both(e.a, e.b, '+');
      if (e.op === 'mul') return both(e.a, e.b, '*');
      if (e.op === 'sub') return [...code(e.a, env), ...code(e.b, env), -1, '*', '+'];
      if (e.op === 'div') return both(e.a, e.b, 'div');
      if (e.op === 'shr' && e.b.kind === 'const') return [...code(e.a, env), 2 ** e.b.value, 'div'];
      break;
    default:
  }
  throw fault(`the extent of a launch is a ${e.kind}`);
}

// ---- uses ----

interface Uses {
  readonly vars: Set<number>;
  readonly buffers: Set<number>;
  readonly written: Set<number>;
  readonly dims: Set<string>;
}

export function usesOf(list: readonly Stmt[]): Uses {
  const u: Uses = { vars: new Set(), buffers: new Set(), written: new Set(), dims: new Set() };
  const expr = (e: Expr): void => {
    if (e.kind === 'var') u.vars.add(e.var.id);
    if (e.kind === 'dim') u.dims.add(e.name);
    if (e.kind === 'load' || e.kind === 'gather') u.buffers.add(e.buffer.id);
    operands(e).forEach(expr);
  };
  const visit = (s: Stmt): void => {
    if (s.kind === 'product') {
      [...s.a, s.b].forEach(expr);
      u.vars.add(s.var.id);
    }
    if (s.kind === 'copy') {
      [s.at, s.index, ...(s.valid ? [s.valid] : [])].forEach(expr);
      for (const b of [s.to, s.from]) u.buffers.add(b.id);
      u.written.add(s.to.id);
    }
    if ('value' in s) expr(s.value);
    if (s.kind === 'for') [s.start, s.end].forEach(expr);
    if (s.kind === 'while' || s.kind === 'if') expr(s.cond);
    if (s.kind === 'set') u.vars.add(s.var.id);
    if (s.kind === 'store') {
      expr(s.index);
      u.buffers.add(s.buffer.id);
      u.written.add(s.buffer.id);
    }
    for (const inner of nested(s)) inner.forEach(visit);
  };
  list.forEach(visit);
  return u;
}

/** The statements of `before` that `s` depends on, in order. */
export function needed(before: readonly Stmt[], s: Stmt): Stmt[] {
  const { vars } = usesOf([s]);
  const out: Stmt[] = [];
  for (const b of [...before].reverse()) {
    const uses = usesOf([b]);
    const declares = b.kind === 'let' || b.kind === 'local' ? vars.has(b.var.id) : false;
    const sets =
      !declares &&
      b.kind !== 'let' &&
      b.kind !== 'local' &&
      [...setsOf(b)].some((v) => vars.has(v));
    if (!declares && !sets) continue;
    out.unshift(b);
    for (const v of uses.vars) vars.add(v);
  }
  return out;
}
function setsOf(s: Stmt): Set<number> {
  const out = new Set<number>();
  const visit = (x: Stmt): void => {
    if (x.kind === 'set' || x.kind === 'product') out.add(x.var.id);
    for (const inner of nested(x)) inner.forEach(visit);
  };
  visit(s);
  return out;
}
