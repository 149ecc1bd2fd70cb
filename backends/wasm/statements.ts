// Statements. Loops test at the end, with one test before; straight runs of vector statements go chunk by chunk.
import { dtypes } from '../../compiler/ir/dtype.ts';
import type { Expr, Stmt } from '../../compiler/loops/loops.ts';
import { isNonNegative } from './addresses.ts';
import type { Ref } from './binaryen.ts';
import { areBytes, setBytes, storeBytes } from './bytes.ts';
import { inPlace } from './codes.ts';
import { areWords, chunk, fault, foldStep, scalar, storeWords, words } from './expressions.ts';
import type { Frame } from './frame.ts';
import { foldOf, isSimple, type Run, runAt, type Simple, scalarsFirst } from './runs.ts';
import { chunksPerUnit, storedChunks, storeScalar, storeUnit } from './stores.ts';

/** A statement list as one block: the addresses found in it hold until its end. */
export function body(f: Frame, list: readonly Stmt[]): Ref {
  return f.m.block(
    null,
    f.inRegion(() => statements(f, list)),
  );
}

function statements(f: Frame, given: readonly Stmt[]): Ref[] {
  const list = scalarsFirst(given);
  const out: Ref[] = [];
  const isBytes = (s: Stmt): s is Extract<Stmt, { kind: 'let' }> =>
    s.kind === 'let' && f.isBytes(s.var);
  const isByteStore = (s: Stmt): s is Extract<Stmt, { kind: 'store' }> =>
    s.kind === 'store' && dtypes[s.buffer.dtype].bits === 8 && areBytes(f, s.value);
  const isWords = (s: Stmt): s is Extract<Stmt, { kind: 'let' }> =>
    s.kind === 'let' && f.isWords(s.var);
  const isWordStore = (s: Stmt): boolean =>
    s.kind === 'store' && s.buffer.dtype === 'i16' && areWords(f, s.value);
  const isAlone = (s: Stmt): boolean =>
    isBytes(s) || isByteStore(s) || isWords(s) || isWordStore(s);
  // Sixteen codes that were looked up wait in registers for their turn.
  const keepsBytes = (s: Simple): boolean => {
    const fold = foldOf(s);
    return fold?.a.kind === 'muladd' && !inPlace(fold.a.b);
  };
  for (let i = 0; i < list.length; ) {
    const s = list[i]!;
    if (isWords(s)) {
      f.startStatement();
      out.push(f.m.local.set(f.wordsOf(s.var), words(f, s.value, 0)));
      i += 1;
    } else if (s.kind === 'store' && isWordStore(s)) {
      f.startStatement();
      out.push(storeWords(f, s));
      i += 1;
    } else if (isBytes(s) || isByteStore(s)) {
      f.startStatement();
      out.push(...(s.kind === 'store' ? [storeBytes(f, s)] : setBytes(f, s)));
      i += 1;
    } else if (isSimple(s)) {
      const run = runAt(list, i, isAlone, keepsBytes);
      f.startStatement();
      out.push(...(run.wholeFirst ? overlapping(f, run) : chunkByChunk(f, run)));
      i += run.list.length;
    } else {
      if (s.kind !== 'comment') out.push(control(f, s));
      i += 1;
    }
  }
  return out;
}

// ---- straight code ----

function chunkByChunk(f: Frame, run: Run): Ref[] {
  const out: Ref[] = [];
  /** Chunks of names that nobody has asked for yet: those of a store are made one by one, when it comes to them. */
  const waiting = new Map<number, Simple[]>();
  const due = (c: number): Ref[] => {
    const list = waiting.get(c) ?? [];
    waiting.delete(c);
    return list.map((s) => part(f, s, c)!);
  };
  const allDue = (): Ref[] => [...waiting.keys()].flatMap(due);
  for (let from = 0; from < run.chunks; from += run.unit)
    for (const s of run.list)
      for (let c = from; c < Math.min(from + run.unit, run.chunks); c++) {
        const fold = foldOf(s);
        if (run.isLazy && s.kind === 'let' && !fold) {
          waiting.set(c, [...(waiting.get(c) ?? []), s]);
          continue;
        }
        if (s.kind !== 'store') out.push(...allDue());
        if (fold) out.push(foldStep(f, fold, c));
        const ref = fold && c < run.chunks - 1 ? undefined : part(f, s, fold ? 0 : c, due);
        if (ref !== undefined) out.push(ref);
      }
  out.push(...allDue());
  for (const s of run.list) if (s.kind !== 'store') assigned(f, s);
  return out;
}

/** Chunk c of a statement; a store acts where its unit is complete. `due` makes names that its chunk i wants. */
function part(
  f: Frame,
  s: Simple,
  c: number,
  due: (i: number) => readonly Ref[] = () => [],
): Ref | undefined {
  const lanes = s.value.type.lanes;
  const value = (i: number): Ref => chunk(f, s.value, i);
  if (s.kind !== 'store') return f.setVar(s.var, c, lanes === 1 ? scalar(f, s.value) : value(c));
  const emit = (e: Expr): Ref => scalar(f, e);
  if (lanes === 1) return storeScalar(f, emit, s, s.value);
  const unit = chunksPerUnit(s.buffer, lanes);
  if ((c + 1) % unit !== 0) return undefined;
  return storeUnit(f, emit, s, c + 1 - unit, { ...storedChunks(f, s), due }, true);
}

function assigned(f: Frame, s: Exclude<Simple, { kind: 'store' }>): void {
  if (s.kind === 'set') f.forget(s.var);
  if (s.kind === 'let') f.bindsHere(s.var);
  const isIndex = s.var.type.scalar === 'i32' && s.var.type.lanes === 1;
  if (s.kind === 'let' && isIndex && isNonNegative(f, s.value)) f.markNonNegative(s.var);
}

/** All chunks of the value first, then the writes. */
function overlapping(f: Frame, { list: [s], chunks }: Run): Ref[] {
  const lanes = s!.value.type.lanes;
  if (lanes === 1)
    return chunkByChunk(f, { list: [s!], chunks: 1, unit: 1, isLazy: false, wholeFirst: false });
  const { m, types } = f;
  const temps = Array.from({ length: chunks }, () => f.local(types.v128));
  const out = temps.map((t, c) => m.local.set(t, chunk(f, s!.value, c)));
  const kept = (c: number): Ref => m.local.get(temps[c]!, types.v128);
  if (s!.kind !== 'store') {
    out.push(...temps.map((_, c) => f.setVar(s!.var, c, kept(c))));
    assigned(f, s!);
    return out;
  }
  const unit = chunksPerUnit(s!.buffer, lanes);
  for (let c = 0; c < chunks; c += unit)
    out.push(storeUnit(f, (e) => scalar(f, e), s!, c, { chunk: kept }));
  return out;
}

// ---- control ----

type Control = Exclude<Stmt, Simple | { readonly kind: 'comment' }>;

function control(f: Frame, s: Control): Ref {
  f.startStatement();
  switch (s.kind) {
    case 'barrier':
    case 'combine':
    case 'product':
    case 'pack':
    case 'copy':
    case 'arrive':
      throw fault(`a ${s.kind} of GPU threads reached the wasm backend`);
    case 'for':
      return forLoop(f, s);
    case 'while':
      return whileLoop(f, s);
    case 'if': {
      const cond = f.inRegion(() => scalar(f, s.cond));
      const yes = body(f, s.then);
      return s.else.length ? f.m.if(cond, yes, body(f, s.else)) : f.m.if(cond, yes);
    }
  }
}

/** for (i = start; i < end - (step - 1); i += step): a whole step fits while i is below the limit. */
function forLoop(f: Frame, s: Extract<Control, { kind: 'for' }>): Ref {
  const { m, types } = f;
  const i = f.locals(s.var)[0]!;
  const get = (): Ref => m.local.get(i, types.i32);
  const limit = f.local(types.i32);
  const fits = (): Ref => m.i32.lt_s(get(), m.local.get(limit, types.i32));
  const label = f.label();
  const setup = f.inRegion(() => {
    const end = scalar(f, s.end);
    const top = s.step === 1 ? end : m.i32.sub(end, m.i32.const(s.step - 1));
    return [m.local.set(limit, top), m.local.set(i, scalar(f, s.start))];
  });
  if (isNonNegative(f, s.start)) f.markNonNegative(s.var);
  const { front, body: inner } = f.inLoop(() => body(f, s.body), true);
  const next = m.local.set(i, m.i32.add(get(), m.i32.const(s.step)));
  const loop = m.loop(label, m.block(null, [inner, next, m.br_if(label, fits())]));
  return m.block(null, [...setup, m.if(fits(), m.block(null, [...front, loop]))]);
}

function whileLoop(f: Frame, s: Extract<Control, { kind: 'while' }>): Ref {
  const { m } = f;
  const [out, again] = [f.label(), f.label()];
  const { body: list } = f.inLoop(() => {
    const head = f.inRegion(() => {
      const header = statements(f, s.header);
      f.startStatement();
      return [...header, m.br_if(out, m.i32.eqz(scalar(f, s.cond)))];
    });
    return m.block(null, [...head, body(f, s.body), m.br(again)]);
  }, false);
  return m.block(out, [m.loop(again, list)]);
}
