// The threaded variant of a module: `run(worker, workers, sync, buffers..., dims...)`, called by every worker at
// once. Workers take chunks of the iterations of a loop from counters in memory; what one element is made of
// never depends on who takes it, so results are the same bits for any number of workers.
import { type Program, type Var, variable, vtype } from '../../compiler/loops/loops.ts';
import type { ForLoop } from '../../compiler/loops/parallel.ts';
import type { SyncArea } from '../backend.ts';
import { isNonNegative } from './addresses.ts';
import { type Binaryen, baseFeatures, type Module, type Ref } from './binaryen.ts';
import { scalar } from './expressions.ts';
import type { Pool } from './constants.ts';
import { Frame, paramCount } from './frame.ts';
import type { Relaxed } from './relaxed.ts';
import { body } from './statements.ts';
import { planThreads, type Segment } from './threads-plan.ts';

/** Parameters in front of those of every module. */
const lead = ['worker', 'workers', 'sync'] as const;

/**
 * The sync area, in bytes from its address, all zero before a call: workers at the barrier, the number of the
 * barrier, whether a worker failed (nobody waits then), and for each shared loop a line with a counter for each region.
 */
const layout = { arrived: 0, round: 64, failed: 68, counters: 128, stride: 64 } as const;

/** Regions of a loop at most: counters that a line holds. */
const mostRegions = layout.stride / 4;
/**
 * A loop has a region for each worker, which so walks through memory in a row; who is done with its own helps in those
 * of others. A worker takes one of `parts` parts of what is left of a region, so that chunks shrink towards the end and
 * nobody waits long, but no less than one of `finest` parts of its share. Two threads read weights of 9 MB 3 % faster
 * than with the same chunks in the order in which they are asked for, and 7 % where they share no cache.
 */
const parts = 2;
const finest = 32;
/** Looks at the barrier before a worker goes to sleep: a few microseconds. */
const spins = 4000;

export interface ThreadedModule {
  build(): Module;
  readonly sync: SyncArea;
}

/** `program` must be expanded already; undefined if it has no loop to share. See recordModule. */
export function recordThreaded(
  b: Binaryen,
  program: Program,
  simd: Relaxed,
  pool: Pool,
): ThreadedModule | undefined {
  const plan = planThreads(program);
  if (!plan) return undefined;
  const m = new b.Module();
  m.setFeatures(baseFeatures(b, simd.relaxed) | b.Features.Atomics);
  m.setMemory(0, 65536, null, [], true, false, '0');
  m.addMemoryImport('0', 'env', 'memory', true);
  addBarrier(b, m);
  const kernels = program.kernels.map((k, i) => {
    const frame = new Frame(b, m, program, simd, lead);
    const code = frame.placed(segments(frame, b, plan.kernels[i]!), pool);
    return { name: `${i}_${k.name}`, frame, code };
  });
  const { counters, stride, failed, round } = layout;
  return {
    sync: { bytes: counters + plan.counters * stride, failed, round },
    build() {
      const count = lead.length + paramCount(program, pool);
      const params = b.createType(new Array<number>(count).fill(b.i32));
      const args = (): number[] => Array.from({ length: count }, (_, i) => m.local.get(i, b.i32));
      for (const { name, frame, code } of kernels)
        m.addFunction(name, params, b.none, frame.localTypes, frame.built(code, pool));
      const calls = kernels.map(({ name }) => m.call(name, args(), b.none));
      m.addFunction('run', params, b.none, [], m.block(null, calls));
      m.addFunctionExport('run', 'run');
      return m;
    },
  };
}

function segments(f: Frame, b: Binaryen, list: readonly Segment[]): Ref {
  return f.m.block(
    null,
    list.map((s) => segment(f, b, s)),
  );
}

function segment(f: Frame, b: Binaryen, s: Segment): Ref {
  const { m } = f;
  const meet = (): Ref => m.call('barrier', [f.param('workers'), f.param('sync')], b.none);
  switch (s.kind) {
    case 'each':
      return body(f, s.list);
    case 'first':
      return m.if(m.i32.eqz(f.param('worker')), body(f, s.list));
    case 'split':
      return splitLoop(f, s.loop, s.counter, s.wait ? [meet()] : []);
    case 'barrier':
      return meet();
    case 'branch': {
      f.startStatement();
      const cond = f.inRegion(() => scalar(f, s.cond));
      const yes = segments(f, b, s.then);
      return s.else.length ? m.if(cond, yes, segments(f, b, s.else)) : m.if(cond, yes);
    }
  }
}

/** Takes chunks of whole steps until no region has any, and runs each as an ordinary loop. */
function splitLoop(f: Frame, s: ForLoop, counter: number, before: readonly Ref[]): Ref {
  const { m, types } = f;
  const { i32 } = m;
  const local = (): number => f.local(types.i32);
  const [start, steps, least, regions, region] = [local(), local(), local(), local(), local()];
  const [turns, first, at, left, taken] = [local(), local(), local(), local(), local()];
  const get = (x: number): Ref => m.local.get(x, types.i32);
  const set = (x: number, value: Ref): Ref => m.local.set(x, value);
  const c = (x: number): Ref => i32.const(x);
  const atMost = (x: number, most: () => Ref): Ref =>
    m.if(i32.gt_s(get(x), most()), set(x, most()));
  const oneIn = (n: Ref, all: Ref): Ref => i32.add(i32.div_u(all, n), c(1));
  const [workers, step] = [(): Ref => f.param('workers'), s.step];
  f.startStatement();
  // Full steps in [start, end), none if end is below start.
  const setup = f.inRegion(() => {
    const begin = set(start, scalar(f, s.start));
    const span = i32.sub(scalar(f, s.end), get(start));
    return [begin, set(steps, i32.div_s(span, c(step)))];
  });
  // One worker takes everything at once.
  const alone = i32.eq(workers(), c(1));
  const share = oneIn(i32.mul(workers(), c(finest)), get(steps));
  const own = [
    set(least, m.select(alone, get(steps), share)),
    set(regions, workers()),
    atMost(regions, () => c(mostRegions)),
    set(region, i32.rem_u(f.param('worker'), get(regions))),
    set(turns, get(regions)),
  ];

  const [out, next, again] = [f.label(), f.label(), f.label()];
  // Where steps are left over, each of the first regions has one more.
  const each = (): Ref => i32.div_u(get(steps), get(regions));
  const over = (): Ref => i32.rem_u(get(steps), get(regions));
  const isLonger = (): Ref => i32.lt_u(get(region), over());
  const ahead = m.select(isLonger(), get(region), over());
  const size = i32.add(each(), isLonger());
  const address = (): Ref => i32.add(f.param('sync'), i32.shl(get(region), c(2)));
  const offset = layout.counters + counter * layout.stride;
  const look = [
    set(at, i32.atomic.load(offset, address())),
    set(left, i32.sub(size, get(at))),
    set(taken, oneIn(c(parts), get(left))),
    m.if(i32.lt_s(get(taken), get(least)), set(taken, get(least))),
    atMost(taken, () => get(left)),
  ];
  const after = i32.add(get(at), get(taken));
  const swapped = i32.atomic.rmw.cmpxchg(offset, address(), get(at), after);
  const lost = m.br_if(again, i32.ne(swapped, get(at)));
  const [from, to] = [fresh('from'), fresh('to')];
  const toElement = (n: Ref): Ref => i32.add(get(start), i32.mul(n, c(step)));
  const bounds = [
    set(at, i32.add(get(at), get(first))),
    f.setVar(from, 0, toElement(get(at))),
    f.setVar(to, 0, toElement(i32.add(get(at), get(taken)))),
  ];
  if (isNonNegative(f, s.start)) f.markNonNegative(from);
  const { body: run } = f.inLoop(
    () => body(f, [{ ...s, start: variable(from), end: variable(to), parallel: false }]),
    false,
  );
  const chunk = m.block(null, [lost, ...bounds, run, m.br(again)]);
  const ofRegion = [
    set(first, i32.add(i32.mul(get(region), each()), ahead)),
    m.loop(again, m.block(null, [...look, m.if(i32.gt_s(get(left), c(0)), chunk)])),
    set(turns, i32.sub(get(turns), c(1))),
    m.br_if(out, i32.eqz(get(turns))),
    set(region, i32.add(get(region), c(1))),
    m.if(i32.eq(get(region), get(regions)), set(region, c(0))),
    m.br(next),
  ];
  const shared = [...before, ...own, m.loop(next, m.block(null, ofRegion))];
  return m.block(null, [...setup, m.if(i32.gt_s(get(steps), c(0)), m.block(out, shared))]);
}

let nextId = -1;
/** A variable of no program: those have ids from 0. */
function fresh(name: string): Var {
  return { id: nextId--, name, type: vtype('i32') };
}

/**
 * barrier(workers, sync): returns when all have called it, or as soon as one has failed. The last to come opens
 * the next round; the others look for a while, then sleep.
 */
function addBarrier(b: Binaryen, m: Module): void {
  const [workers, sync, round, left] = [0, 1, 2, 3] as const;
  const get = (x: number): Ref => m.local.get(x, b.i32);
  const c = (x: number): Ref => m.i32.const(x);
  const { arrived, round: roundAt, failed } = layout;
  const moved = (): Ref => m.i32.ne(m.i32.atomic.load(roundAt, get(sync)), get(round));
  const lost = (): Ref => m.i32.atomic.load(failed, get(sync));
  const roundAddress = (): Ref => m.i32.add(get(sync), c(roundAt));
  const isLast = m.i32.eq(
    m.i32.atomic.rmw.add(arrived, get(sync), c(1)),
    m.i32.sub(get(workers), c(1)),
  );
  const open = m.block(null, [
    m.i32.atomic.store(arrived, get(sync), c(0)),
    m.drop(m.i32.atomic.rmw.add(roundAt, get(sync), c(1))),
    m.drop(m.memory.atomic.notify(roundAddress(), c(-1))),
    m.return(),
  ]);
  const look = m.loop(
    'look',
    m.block(null, [
      m.if(moved(), m.return()),
      m.local.set(left, m.i32.sub(get(left), c(1))),
      m.br_if('look', get(left)),
    ]),
  );
  // A worker that came after a failure saw the round already moved on: hence the limit of 50 ms.
  const sleep = m.loop(
    'sleep',
    m.block(null, [
      m.if(m.i32.or(moved(), lost()), m.return()),
      m.drop(m.memory.atomic.wait32(roundAddress(), get(round), m.i64.const(50_000_000n))),
      m.br('sleep'),
    ]),
  );
  m.addFunction(
    'barrier',
    b.createType([b.i32, b.i32]),
    b.none,
    [b.i32, b.i32],
    m.block(null, [
      m.if(m.i32.or(m.i32.eq(get(workers), c(1)), lost()), m.return()),
      m.local.set(round, m.i32.atomic.load(roundAt, get(sync))),
      m.if(isLast, open),
      m.local.set(left, c(spins)),
      look,
      sleep,
    ]),
  );
}
