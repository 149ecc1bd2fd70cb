// The text of a program: the parts of the prelude in use, then one function a launch. Such a function computes the element
// number this.thread.x of the one buffer that the launch writes.
import { type Launch, needed } from '../../compiler/loops/launches.ts';
import {
  type Buffer,
  type Expr,
  i32,
  type Program,
  type Stmt,
} from '../../compiler/loops/loops.ts';
import type { EmitOptions, Limits } from '../backend.ts';
import { CompileError, diagnostic, noSpan } from '../../compiler/diagnostics/diagnostic.ts';
import { inside, textOf } from './expressions.ts';
import { partsOf, prelude } from './prelude.ts';
import { Ranges } from './ranges.ts';
import { fault, Writer } from './writer.ts';

export interface Source {
  readonly text: string;
  /** By launch: what it reads, then what it writes. */
  readonly buffers: readonly (readonly Buffer[])[];
}

export function sourceText(
  program: Program,
  launches: readonly Launch[],
  limits: Limits,
  line: EmitOptions['line'] = () => undefined,
): Source {
  const taken = [...Object.keys(prelude), ...launches.map((l) => l.name)];
  const made = launches.map((l) => functionText(l, limits, taken, l.span && line(l.span)));
  const texts = made.map((m) => m.text);
  return {
    text: `${[`// ${program.name}: for gpu.js. How the functions are called stands in the manifest.`, ...partsOf(texts), ...texts].join('\n\n')}\n`,
    buffers: made.map((m) => m.buffers),
  };
}

function functionText(
  l: Launch,
  limits: Limits,
  taken: readonly string[],
  source: string | undefined,
): { readonly text: string; readonly buffers: readonly Buffer[] } {
  const body = wanted(l.body);
  const w = new Writer(new Ranges(body), l.span, taken);
  const written = l.buffers.filter((b) => l.written.has(b.id));
  const [out] = written;
  if (!out || written.length > 1 || l.inner.length > 0)
    throw fault(`${l.name} writes ${written.length} buffers and has ${l.inner.length} of its own`);
  const read = l.buffers.filter((b) => b !== out);
  if (read.length > limits.maxBuffers)
    throw new CompileError([
      diagnostic('Q4002', l.span ?? noSpan, {
        what: `${read.length} tensors at once`,
        limit: `${limits.maxBuffers}`,
        target: limits.target,
        instead: 'Split the function, or join tensors with concat.',
      }),
    ]);
  // Names of parameters come first.
  const names = [...read.map((b) => w.buffer(b)), ...l.dims.map((d) => w.dim(d))];
  statements(w, body);
  const lines = [
    ...(source === undefined ? [] : [`// ${source}`]),
    `function ${l.name}(${[...names, ...w.specials].join(', ')}) {`,
    ...w.lines,
    '}',
  ];
  return { text: lines.join('\n'), buffers: [...read, out] };
}

/** Without the names in front of the grid that only its extent needs: that stands in the manifest. */
function wanted(body: readonly Stmt[]): readonly Stmt[] {
  const [grid] = body.slice(-1);
  if (grid?.kind !== 'for' || grid.on !== 'grid') throw fault('a launch without a grid');
  const inside = { ...grid, start: i32(0), end: i32(0) };
  return [...needed(body.slice(0, -1), inside), grid];
}

function statements(w: Writer, list: readonly Stmt[]): void {
  for (const s of list) statement(w, s);
}

const x = (w: Writer, e: Expr): string => textOf(w, e);

/** A first value. gpu.js takes `a === b` for a float where it declares a variable, but not what `&&` gives. */
function declared(w: Writer, e: Expr): string {
  const text = x(w, e);
  return e.type.scalar === 'bool' ? `${inside(text)} && true` : text;
}

function statement(w: Writer, s: Stmt): void {
  switch (s.kind) {
    case 'comment':
      return w.line(`// ${s.text}`);
    case 'let':
      return w.line(`const ${w.variable(s.var)} = ${declared(w, s.value)};`);
    case 'local':
      return w.line(`let ${w.variable(s.var)} = ${declared(w, s.value)};`);
    case 'set':
      return w.line(`${w.variable(s.var)} = ${x(w, s.value)};`);
    case 'for':
      return forLoop(w, s);
    case 'if':
      w.block(
        `if (${x(w, s.cond)})`,
        () => statements(w, s.then),
        s.else.length ? '} else {' : '}',
      );
      if (s.else.length === 0) return;
      throw fault('an else reached gpujs');
    case 'store': {
      const value = x(w, s.value);
      return w.line(
        `return ${s.value.type.scalar === 'bool' ? `${inside(value)} ? 1 : 0` : value};`,
      );
    }
    case 'while':
    case 'barrier':
    case 'combine':
    case 'product':
    case 'pack':
    case 'copy':
    case 'arrive':
      throw fault(`a ${s.kind} reached gpujs`);
  }
}

function forLoop(w: Writer, s: Extract<Stmt, { kind: 'for' }>): void {
  const name = w.variable(s.var);
  if (s.on === 'grid') {
    const [last] = s.body.slice(-1);
    const own = last?.kind === 'store' && last.index.kind === 'var' && last.index.var === s.var;
    if (!own) throw fault('a thread stores at the number of another');
    w.line(`const ${name} = Math.fround(this.thread.x);`);
    return statements(w, s.body);
  }
  if (s.start.kind !== 'const' || s.step !== 1 || s.on) throw fault('a loop that gpujs has not');
  // Counters are integers to gpu.js, and whatever meets them would become one.
  const i = w.counter(s.var);
  w.block(`for (let ${i} = ${s.start.value}; ${i} < ${inside(x(w, s.end))}; ${i}++)`, () => {
    w.line(`const ${name} = Math.fround(${i});`);
    statements(w, s.body);
  });
}
