// The few WebAssembly functions that run a tape of recorded calls without JavaScript in between, written down byte by
// byte, since the runtime carries no compiler: `play` walks the tape; an adapter for each number of arguments loads
// them from the tape and calls a kernel; a copy moves memory. Kernels and adapters are found in a table of functions that
// every thread has for itself. tape.ts writes what is read here.
import { leb } from './shared-memory.ts';

/** The words in front of a tape, in bytes from its address: where its last record ends, and the step under way. */
export const tapeHead = { end: 0, step: 4, bytes: 16 } as const;

/** A record of a tape, in bytes from its beginning. `args` are values, or pairs of a value and its slice. */
export const record = {
  bytes: 0,
  /** Places in the table: of what loads the arguments, and of the kernel. */
  adapter: 4,
  kernel: 8,
  flags: 12,
  /** Number of the step. */
  step: 16,
  /** The sync area of the call, zeroed, and in it where those who wait look for failure and rounds; else 0. */
  sync: 20,
  failed: 24,
  round: 28,
  args: 32,
} as const;

/** Run by all workers, not by the first alone; and the workers meet before it. */
export const flag = { shared: 1, meet: 2 } as const;

/**
 * The sync area of `play`: workers at the barrier, the number of the barrier, whether a worker failed, and where those wait
 * who are inside of a step (addresses of its failed and round, 0 if nobody does).
 */
export const playSync = {
  arrived: 0,
  round: 64,
  failed: 68,
  innerFailed: 72,
  innerRound: 76,
  bytes: 128,
} as const;

/**
 * Looks at the barrier before a worker goes to sleep: some ten microseconds, most steps that it does not share. Longer ones
 * pay on a machine that has nothing else to do, and cost more than they save on one that is busy.
 */
const SPINS = 20_000;
/** Nanoseconds after which a sleeper looks whether a worker failed. */
const LOOK = 50_000_000;

// ---- a small assembler ----

type Code = readonly number[];
const I32 = 0x7f;
const VOID = 0x40;

/** Signed LEB128. */
function sleb(n: number): number[] {
  const out: number[] = [];
  for (let left = n; ; left >>= 7) {
    const byte = left & 127;
    if ((left >> 6 === 0 && !(byte & 64)) || (left >> 6 === -1 && byte & 64)) return [...out, byte];
    out.push(byte | 128);
  }
}
const get = (local: number): Code => [0x20, ...leb(local)];
const set = (local: number): Code => [0x21, ...leb(local)];
const tee = (local: number): Code => [0x22, ...leb(local)];
const c = (n: number): Code => [0x41, ...sleb(n)];
const load = (offset: number): Code => [0x28, 2, ...leb(offset)];
const store = (offset: number): Code => [0x36, 2, ...leb(offset)];
const atomicLoad = (offset: number): Code => [0xfe, 0x10, 2, ...leb(offset)];
const atomicStore = (offset: number): Code => [0xfe, 0x17, 2, ...leb(offset)];
const atomicAdd = (offset: number): Code => [0xfe, 0x1e, 2, ...leb(offset)];
const notify: Code = [0xfe, 0x00, 2, 0];
const wait: Code = [0xfe, 0x01, 2, 0];
const add = 0x6a;
const sub = 0x6b;
const mul = 0x6c;
const and = 0x71;
const or = 0x72;
const eqz = 0x45;
const eq = 0x46;
const ne = 0x47;
const geU = 0x4f;
const drop = 0x1a;
const select = 0x1b;
const ret = 0x0f;
const end = 0x0b;
const block: Code = [0x02, VOID];
const loop: Code = [0x03, VOID];
const when: Code = [0x04, VOID];
const br = (depth: number): Code => [0x0c, depth];
const brIf = (depth: number): Code => [0x0d, depth];
const call = (f: number): Code => [0x10, f];
const callIndirect = (type: number): Code => [0x11, type, 0];
const code = (...parts: readonly (number | Code)[]): Code => parts.flat();

const name = (text: string): Code => [...leb(text.length), ...new TextEncoder().encode(text)];
const section = (id: number, content: Code): Code => [id, ...leb(content.length), ...content];
const list = (items: readonly Code[]): Code => [...leb(items.length), ...items.flat()];
const funcType = (params: number): Code => [0x60, ...leb(params), ...Array(params).fill(I32), 0];

interface Func {
  readonly type: number;
  /** i32 locals besides the parameters. */
  readonly locals: number;
  readonly body: Code;
  readonly export?: string;
}

function moduleOf(types: readonly number[], funcs: readonly Func[], shared: boolean): Uint8Array {
  // A shared memory says how far it may grow; a plain one of at most all pages has any limit.
  const memory = [2, shared ? 3 : 1, 0, ...leb(65536)];
  const imports = [
    [...name('env'), ...name('memory'), ...memory],
    [...name('env'), ...name('table'), 1, 0x70, 0, 0],
  ];
  const exports = funcs.flatMap((f, i) =>
    f.export ? [[...name(f.export), 0, ...leb(i)] as Code] : [],
  );
  const bodies = funcs.map(({ locals, body }) => {
    const whole = [...(locals ? [1, locals, I32] : [0]), ...body, end];
    return [...leb(whole.length), ...whole];
  });
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, list(types.map(funcType))),
    ...section(2, list(imports)),
    ...section(3, list(funcs.map((f) => leb(f.type)))),
    ...section(7, list(exports)),
    ...section(10, list(bodies)),
  ]);
}

/** Parameters of every adapter: worker, workers, sync area, address of the arguments, place of the kernel. */
const ADAPTER = 5;

/** barrier(workers, sync): returns when all have called it, or as soon as one has failed. */
function barrier(): Func {
  const [workers, sync, round, left] = [0, 1, 2, 3] as const;
  const s = playSync;
  const lost = code(get(sync), atomicLoad(s.failed));
  const moved = code(get(sync), atomicLoad(s.round), get(round), ne);
  return {
    type: 1,
    locals: 2,
    body: code(
      ...[get(workers), c(1), eq, lost, or, when, ret, end],
      ...[get(sync), atomicLoad(s.round), set(round)],
      // The last to come opens the next round.
      ...[get(sync), c(1), atomicAdd(s.arrived), get(workers), c(1), sub, eq, when],
      ...[get(sync), c(0), atomicStore(s.arrived), get(sync), c(1), atomicAdd(s.round), drop],
      ...[get(sync), c(s.round), add, c(-1), notify, drop, ret, end],
      ...[c(SPINS), set(left), loop, moved, when, ret, end],
      ...[get(left), c(1), sub, tee(left), brIf(0), end],
      ...[loop, moved, lost, or, when, ret, end],
      ...[get(sync), c(s.round), add, get(round), [0x42, ...sleb(LOOK)], wait, drop, br(0), end],
    ),
  };
}

/** play(worker, workers, sync, tape): every record of the tape in order, with barriers where the records want them. */
function play(): Func {
  const [worker, workers, sync, tape, at, flags] = [0, 1, 2, 3, 4, 5] as const;
  const field = (offset: number): Code => code(get(at), load(offset));
  const has = (bit: number): Code => code(get(flags), c(bit), and);
  return {
    type: 2,
    locals: 2,
    export: 'run',
    body: code(
      ...[get(tape), c(tapeHead.bytes), add, set(at), block, loop],
      ...[get(at), get(tape), load(tapeHead.end), geU, brIf(1)],
      ...[field(record.flags), set(flags)],
      ...[has(flag.meet), when, get(workers), get(sync), call(0), end],
      // What follows a failure would compute with garbage.
      ...[get(sync), atomicLoad(playSync.failed), brIf(1)],
      ...[has(flag.shared), get(worker), eqz, or, when],
      // All workers that get here are in the same step.
      ...[get(tape), field(record.step), store(tapeHead.step)],
      ...[get(sync), field(record.failed), store(playSync.innerFailed)],
      ...[get(sync), field(record.round), store(playSync.innerRound)],
      ...[get(worker), get(workers), c(1), has(flag.shared), select, field(record.sync)],
      ...[get(at), c(record.args), add, field(record.kernel)],
      ...[field(record.adapter), callIndirect(0), end],
      ...[get(at), field(record.bytes), add, set(at), br(0), end, end],
    ),
  };
}

/** The module of `play`, exported as `run`. */
export const sequencerCode = (shared: boolean): Uint8Array =>
  moduleOf([ADAPTER, 2, 4], [barrier(), play()], shared);

/** Loads `count` values and calls a kernel with them; or pairs, for a kernel that several workers share. */
export function adapterCode(count: number, sliced: boolean, shared: boolean): Uint8Array {
  const [worker, workers, sync, args, kernel] = [0, 1, 2, 3, 4] as const;
  const values = Array.from({ length: count }, (_, i) => {
    if (!sliced) return code(get(args), load(4 * i));
    const slice = code(get(worker), get(args), load(8 * i + 4), mul);
    return code(get(args), load(8 * i), slice, add);
  });
  const lead = sliced ? code(get(worker), get(workers), get(sync)) : [];
  const body = code(lead, ...values, get(kernel), callIndirect(1));
  const types = [ADAPTER, count + (sliced ? 3 : 0)];
  return moduleOf(types, [{ type: 0, locals: 0, body, export: 'run' }], shared);
}

/** Copies memory: its arguments are the addresses to and from, and a number of bytes. */
export function copyCode(shared: boolean): Uint8Array {
  const args = 3;
  const body = code(get(args), load(0), get(args), load(4), get(args), load(8), [0xfc, 10, 0, 0]);
  return moduleOf([ADAPTER], [{ type: 0, locals: 0, body, export: 'run' }], shared);
}
