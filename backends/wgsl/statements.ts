// Statements as WGSL. Loops on the grid, on groups and on warps become the number of a thread or a group (a warp is a group
// of its own); loops that a team shares start at the member's number and step by their count.
import type { Expr, Spread, Stmt } from '../../compiler/loops/loops.ts';
import { scalarOf } from '../../compiler/ir/dtype.ts';
import { usesOf } from '../../compiler/loops/launches.ts';
import { combineOf } from './combine.ts';
import { begin, scalar, vectors } from './expressions.ts';
import { letters, storeElement, storeVector } from './memory.ts';
import { levels } from './tables.ts';
import { piecesOf, typeText, widthOf } from './types.ts';
import { agreed, isUniform, meets } from './uniform.ts';
import { fault, type Text, type Writer } from './writer.ts';

export function statements(w: Writer, list: readonly Stmt[]): void {
  for (let i = 0; i < list.length; i += 1) {
    const s = list[i]!;
    if (s.kind === 'combine') i += combine(w, list, i) - 1;
    else statement(w, s);
  }
}

type Of<K extends Stmt['kind']> = Extract<Stmt, { kind: K }>;

function statement(w: Writer, s: Stmt): void {
  switch (s.kind) {
    case 'comment':
      return w.line(`// ${s.text}`);
    case 'let':
    case 'local':
      return declare(w, s);
    case 'set':
      return assign(w, s);
    case 'barrier':
      return barrier(w);
    case 'store':
      return store(w, s);
    case 'for':
      return forLoop(w, s);
    case 'while':
      return whileLoop(w, s);
    case 'if':
      return choose(w, s);
    case 'combine':
      throw fault('a combine on its own');
  }
}

/** What members wrote before, in memory of the group or of the device, is seen by all of them after. */
function barrier(w: Writer): void {
  w.line('workgroupBarrier();');
  if (w.module.meetInStorage) w.line('storageBarrier();');
}

function declare(w: Writer, s: Of<'let'> | Of<'local'>): void {
  begin(w, [s.value]);
  const names = w.variable(s.var);
  const word = s.kind === 'let' ? 'let' : 'var';
  const texts = vectors(w, s.value, true);
  if (s.kind === 'let' && isUniform(w, s.value)) w.uniform.add(s.var.id);
  texts.forEach((t, i) => w.line(`${word} ${names[i]} = ${t.text};`));
}

/** v = v + a * b: only sums that the schedule made have this form, and a driver may fuse them. */
function accumulation(s: Of<'set'>): Expr | undefined {
  const e = s.value;
  if (e.kind !== 'binary' || e.op !== 'add' || e.type.scalar !== 'f32') return undefined;
  if (e.a.kind !== 'var' || e.a.var.id !== s.var.id) return undefined;
  return e.b.kind === 'binary' && e.b.op === 'mul' ? e.b : undefined;
}

function assign(w: Writer, s: Of<'set'>): void {
  const names = w.variable(s.var);
  const product = accumulation(s);
  if (product) {
    begin(w, [product]);
    vectors(w, product).forEach((t, i) => w.line(`${names[i]} += ${t.text};`));
    return;
  }
  begin(w, [s.value]);
  const texts = vectors(w, s.value, true);
  // Every piece is computed before one is overwritten.
  const last = texts.length === 1 ? texts : texts.map((t) => kept(w, t));
  last.forEach((t, i) => w.line(`${names[i]} = ${t.text};`));
}

const kept = (w: Writer, t: Text): Text => {
  const name = w.temp('next');
  w.line(`let ${name} = ${t.text};`);
  return { text: name, level: levels.atom };
};

/** Combines in a row that are independent go four at a time. Gives how many statements were taken. */
function combine(w: Writer, list: readonly Stmt[], from: number): number {
  const first = list[from] as Of<'combine'>;
  const run: Of<'combine'>[] = [];
  for (const s of list.slice(from, from + 4)) {
    if (s.kind !== 'combine' || s.op !== first.op || s.team !== first.team) break;
    if (s.var.type.scalar !== first.var.type.scalar || s.var.type.lanes > 1) break;
    const uses = usesOf([s]).vars;
    if (run.some((r) => uses.has(r.var.id))) break;
    run.push(s);
  }
  const { scalar: type } = first.var.type;
  if (run.length < 2) {
    begin(w, [first.value]);
    const texts = vectors(w, first.value, true);
    const names = w.variable(first.var);
    const all = combineOf(w, first.op, { scalar: type, lanes: widthOf(first.var.type.lanes) });
    texts.forEach((t, i) => w.line(`let ${names[i]} = ${all(argument(t))};`));
    return 1;
  }
  begin(
    w,
    run.map((s) => s.value),
  );
  const taken = run.length === 3 ? run.slice(0, 2) : run;
  const texts = taken.map((s) => argument(scalar(w, s.value, true)));
  const together = combineOf(w, first.op, { scalar: type, lanes: taken.length });
  const all = w.temp('all');
  w.line(`let ${all} = ${together(`${typeText(type, taken.length)}(${texts.join(', ')})`)};`);
  taken.forEach((s, i) => w.line(`let ${w.variable(s.var)[0]} = ${all}.${letters[i]};`));
  return taken.length;
}

const argument = (t: Text): string => (t.level === levels.compare ? `(${t.text})` : t.text);

function store(w: Writer, s: Of<'store'>): void {
  begin(w, [s.index, s.value]);
  const { lanes, scalar: from } = s.value.type;
  const at = scalar(w, s.index);
  const to = scalarOf(s.buffer.dtype);
  const width = widthOf(lanes);
  const texts = vectors(w, s.value).map(
    (t): Text =>
      from === to ? t : { text: `bitcast<${typeText(to, width)}>(${t.text})`, level: levels.atom },
  );
  if (lanes === 1) storeElement(w, s.buffer, at, texts[0]!);
  else storeVector(w, s.buffer, at, lanes, s.align, texts);
  void piecesOf;
}

/** The text of a condition; agreed upon if threads meet where it leads to. */
function condition(w: Writer, cond: Expr, guards: boolean): string {
  begin(w, [cond]);
  const text = scalar(w, cond).text;
  return guards && !isUniform(w, cond) ? agreed(w, text, 'bool') : text;
}

function choose(w: Writer, s: Of<'if'>): void {
  const text = condition(w, s.cond, meets(s.then) || meets(s.else));
  w.block(`if (${text})`, () => statements(w, s.then), s.else.length ? '} else {' : '}');
  if (!s.else.length) return;
  w.indented(() => statements(w, s.else));
  w.line('}');
}

function whileLoop(w: Writer, s: Of<'while'>): void {
  const guards = meets(s.header) || meets(s.body);
  w.block('loop', () => {
    statements(w, s.header);
    w.line(`if (!(${condition(w, s.cond, guards)})) { break; }`);
    statements(w, s.body);
  });
}

/** The number of a thread or group in the launch, and of a member in its team; how many members there are. */
function placeOf(w: Writer, on: Spread): { readonly first: string; readonly stride?: number } {
  switch (on) {
    case 'grid':
      return { first: `group * ${w.threads} + i32(member)` };
    case 'groups':
    case 'warps':
      return { first: 'group' };
    case 'threads':
    case 'lanes':
      return { first: 'i32(member)', stride: w.threads };
    case 'members':
      return { first: 'i32(member)' };
  }
}

function forLoop(w: Writer, s: Of<'for'>): void {
  const guards = meets(s.body);
  const bound = (e: Expr): string => {
    begin(w, [e]);
    const t = scalar(w, e);
    const same = !guards || isUniform(w, e);
    const text = same ? t.text : agreed(w, t.text, 'i32');
    return same && /^[\w.]+$|^\(.*\)$/.test(text) ? text : kept(w, { text, level: 0 }).text;
  };
  const start = s.start.kind === 'const' ? `${s.start.value}` : bound(s.start);
  const end = s.end.kind === 'const' ? `${s.end.value}` : bound(s.end);
  const [i] = w.variable(s.var) as [string];
  const fits = s.step === 1 ? `${i} < ${end}` : `${i} + ${s.step - 1} < ${end}`;
  const body = (): void => statements(w, s.body);
  if (!s.on) {
    if (isUniform(w, s.start) && isUniform(w, s.end)) w.uniform.add(s.var.id);
    else if (guards) w.uniform.add(s.var.id);
    const next = s.step === 1 ? `${i}++` : `${i} += ${s.step}`;
    return w.block(`for (var ${i} = ${start}; ${fits}; ${next})`, body);
  }
  const { first, stride } = placeOf(w, s.on);
  const scaled =
    s.step === 1 ? first : /^\w+$/.test(first) ? `${s.step} * ${first}` : `${s.step} * (${first})`;
  const from = start === '0' ? scaled : `${start} + ${scaled}`;
  if (s.on === 'members') {
    w.line(`let ${i} = ${first};`);
    return body();
  }
  if (stride === undefined) {
    if (s.on !== 'grid') w.uniform.add(s.var.id);
    w.line(`let ${i} = ${from};`);
    return w.block(`if (${fits})`, body);
  }
  // One member does it: no loop.
  if (start === '0' && end === '1')
    return w.block('if (member == 0u)', () => {
      if (usesOf(s.body).vars.has(s.var.id)) w.line(`let ${i} = 0;`);
      body();
    });
  w.block(`for (var ${i} = ${from}; ${fits}; ${i} += ${s.step * stride})`, body);
}
