// Statements as CUDA C. Loops on the grid, on groups and on warps become the index of a thread, a block or a warp; loops
// that a team shares start at the member's number and step by their count.
import { dtypes } from '../../compiler/ir/dtype.ts';
import { usesOf } from '../../compiler/loops/launches.ts';
import type { Buffer, Expr, Spread, Stmt } from '../../compiler/loops/loops.ts';
import { operand, rangeOf, scalar, vector } from './expressions.ts';
import { copy, pack, product } from './halves.ts';
import { loadInto, storeElement, storeFrom, storeVector } from './memory.ts';
import { combineRows } from './tables.ts';
import { valueType } from './types.ts';
import { fault, type Writer } from './writer.ts';

export function statements(w: Writer, list: readonly Stmt[]): void {
  for (const s of list) {
    w.made = new Map();
    statement(w, s);
  }
}

type Of<K extends Stmt['kind']> = Extract<Stmt, { kind: K }>;

function statement(w: Writer, s: Stmt): void {
  switch (s.kind) {
    case 'comment':
      return w.line(`// ${s.text}`);
    case 'let':
      if (w.once.has(s.var.id)) return;
      return declare(w, s);
    case 'local':
      return declare(w, s);
    case 'set':
      return assign(w, s);
    case 'combine':
      return combine(w, s);
    case 'product':
      return product(w, s);
    case 'pack':
      return pack(w, s);
    case 'copy':
      return copy(w, s, (e) => scalar(w, e));
    case 'arrive':
      w.use('copy_async');
      return w.line(`arrive<${s.pending}>();`);
    case 'barrier':
      return w.line(s.team === 'threads' ? '__syncthreads();' : '__syncwarp();');
    case 'store':
      return store(w, s);
    case 'for':
      return forLoop(w, s);
    case 'while':
      return w.block('while (true)', () => {
        statements(w, s.header);
        w.made = new Map();
        w.line(`if (!(${scalar(w, s.cond)})) break;`);
        statements(w, s.body);
      });
    case 'if': {
      const head = `if (${scalar(w, s.cond)})`;
      if (!s.else.length) return w.shortBlock(head, () => statements(w, s.then));
      w.block(head, () => statements(w, s.then), '} else {');
      w.indented(() => statements(w, s.else));
      w.line('}');
    }
  }
}

/** Values of 32 bits lie in memory as they are in registers. */
const isWord = (b: Buffer): boolean => dtypes[b.dtype].bits === 32;

function declare(w: Writer, s: Of<'let'> | Of<'local'>): void {
  const name = w.variable(s.var);
  if (s.kind === 'let') w.ranges.set(s.var.id, rangeOf(w, s.value));
  else w.ranges.set(s.var.id, [-(2 ** 31), 2 ** 31 - 1]);
  const fixed = s.kind === 'let' ? 'const ' : '';
  if (s.var.type.lanes === 1)
    return w.line(`${fixed}${valueType[s.var.type.scalar]} ${name} = ${scalar(w, s.value, true)};`);
  if (s.value.kind === 'const' && Object.is(s.value.value, 0))
    return w.line(`${w.declaration(s.var.type, name)} = {};`);
  if (
    s.value.kind === 'load' &&
    isWord(s.value.buffer) &&
    s.value.buffer.dtype === s.var.type.scalar
  ) {
    const at = scalar(w, s.value.index);
    w.line(`${w.declaration(s.var.type, name)};`);
    return loadInto(w, name, s.value.buffer, at, s.var.type.lanes, s.value.align);
  }
  const value = vector(w, s.value);
  w.line(`${w.declaration(s.var.type, name)};`);
  w.lanes(s.var.type.lanes, `${name}[l] = ${value('l')};`);
}

/** v = v + a * b, in one rounding: only sums that the schedule made have this form. */
function accumulation(s: Of<'set'>): { readonly a: Expr; readonly b: Expr } | undefined {
  const e = s.value;
  if (e.kind !== 'binary' || e.op !== 'add' || e.type.scalar !== 'f32') return undefined;
  if (e.a.kind !== 'var' || e.a.var.id !== s.var.id) return undefined;
  return e.b.kind === 'binary' && e.b.op === 'mul' ? { a: e.b.a, b: e.b.b } : undefined;
}

function assign(w: Writer, s: Of<'set'>): void {
  const name = w.variable(s.var);
  const fused = accumulation(s);
  if (s.var.type.lanes === 1) {
    if (fused)
      return w.line(`${name} = fmaf(${scalar(w, fused.a)}, ${scalar(w, fused.b)}, ${name});`);
    return w.line(`${name} = ${scalar(w, s.value, true)};`);
  }
  if (fused) {
    const [a, b] = [vector(w, fused.a, false), vector(w, fused.b, false)];
    return w.lanes(s.var.type.lanes, `${name}[l] = fmaf(${a('l')}, ${b('l')}, ${name}[l]);`);
  }
  const value = vector(w, s.value);
  w.lanes(s.var.type.lanes, `${name}[l] = ${value('l')};`);
}

function combine(w: Writer, s: Of<'combine'>): void {
  const name = w.variable(s.var);
  const op = combineRows[s.op];
  w.use(op);
  w.use(s.team === 'lanes' ? 'warp' : 'group');
  w.ranges.set(s.var.id, [-(2 ** 31), 2 ** 31 - 1]);
  const call = `combine_${s.team === 'lanes' ? 'warp' : 'group'}<${op}>`;
  if (s.var.type.lanes === 1)
    return w.line(
      `const ${valueType[s.var.type.scalar]} ${name} = ${call}(${scalar(w, s.value, true)});`,
    );
  const value = vector(w, s.value);
  w.line(`${w.declaration(s.var.type, name)};`);
  w.lanes(s.var.type.lanes, `${name}[l] = ${call}(${value('l')});`);
}

function store(w: Writer, s: Of<'store'>): void {
  const { lanes } = s.value.type;
  const at = scalar(w, s.index);
  if (lanes === 1) {
    if (at.includes('?')) throw fault('an index is a choice');
    return storeElement(w, s.buffer, at, scalar(w, s.value));
  }
  if (s.value.kind === 'var' && isWord(s.buffer) && s.buffer.dtype === s.value.type.scalar)
    return storeFrom(w, w.variable(s.value.var), s.buffer, at, lanes, s.align);
  const value = vector(w, s.value, false);
  storeVector(w, s.buffer, at, lanes, s.align, value);
}

/** The number of a thread, block or warp in the launch, and of a member in its team; how many members there are. */
const places: { readonly [S in Spread]: { readonly first: string; readonly stride?: string } } = {
  grid: { first: '(int)(blockIdx.x * blockDim.x + threadIdx.x)' },
  groups: { first: '(int)blockIdx.x' },
  warps: { first: '(int)(blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32)' },
  threads: { first: '(int)threadIdx.x', stride: '(int)blockDim.x' },
  lanes: { first: '(int)threadIdx.x % 32', stride: '32' },
  members: { first: '(int)threadIdx.x' },
};

function forLoop(w: Writer, s: Of<'for'>): void {
  const start = operand(w, s.start);
  const end = operand(w, s.end);
  const i = w.variable(s.var);
  const fits = s.step === 1 ? `${i} < ${end}` : `${i} + ${s.step - 1} < ${end}`;
  const body = (): void => statements(w, s.body);
  // All of a long loop at once takes more registers than there are.
  if (!s.on && s.end.kind === 'const' && s.start.kind === 'const' && s.end.value > 8 * s.step)
    w.line('#pragma unroll 8');
  if (!s.on)
    return w.block(
      `for (int ${i} = ${start}; ${fits}; ${s.step === 1 ? `++${i}` : `${i} += ${s.step}`})`,
      body,
    );
  const { first, stride } = places[s.on];
  const scaled = s.step === 1 ? first : `${s.step} * (${first})`;
  const from = start === '0' ? scaled : `${start} + ${scaled}`;
  if (s.on === 'members') {
    w.line(`const int ${i} = ${first};`);
    return body();
  }
  if (!stride) {
    w.line(`const int ${i} = ${from};`);
    return w.block(`if (${fits})`, body);
  }
  // One member does it: no loop.
  if (
    s.start.kind === 'const' &&
    s.end.kind === 'const' &&
    s.start.value === 0 &&
    s.end.value === 1
  )
    return w.block(`if (${s.on === 'lanes' ? 'threadIdx.x % 32' : 'threadIdx.x'} == 0)`, () => {
      if (usesOf(s.body).vars.has(s.var.id)) w.line(`const int ${i} = 0;`);
      body();
    });
  const by = s.step === 1 ? stride : `${s.step} * ${stride}`;
  w.block(`for (int ${i} = ${from}; ${fits}; ${i} += ${by})`, body);
}
