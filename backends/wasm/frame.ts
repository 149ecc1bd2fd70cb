// State of one wasm function under construction: its locals, the locals of each loop IR variable, and values
// kept for reuse. binaryen nodes are trees that may be used once, so whatever is needed twice goes through a local.
// Nodes must be made in the order in which they run: a `tee` comes before its `get`.
import type { Buffer, Expr, Program, Var } from '../../compiler/loops/loops.ts';
import type { Definition } from '../../compiler/loops/ranges.ts';
import type { Binaryen, Module, Ref, WasmType } from './binaryen.ts';
import { type NarrowVars, narrowVars } from './narrow.ts';
import { Constant, constantsOfNames, type Pool, placeConstants } from './constants.ts';
import { type Relaxed, relaxedOps } from './relaxed.ts';
import { constantsLate, reload } from './reload.ts';
import { asNode, asRef, build, recorder } from './tree.ts';

/** Vectors are cut into v128 values of four 32-bit lanes; the last may be half used. */
export const chunksOf = (lanes: number): number => (lanes === 1 ? 1 : Math.ceil(lanes / 4));

/** Locals of a variable that is kept as bytes. */
interface KeptBytes {
  whole?: number;
  /** Widened to 16 bits, by place. */
  even?: number;
  odd?: number;
}

/** Addresses that a loop needs and does not change. */
interface LoopFront {
  readonly setup: Ref[];
  readonly known: Map<string, number>;
}

/** Values that hold while a straight run of statements executes. */
interface Region {
  readonly addresses: Map<string, number>;
}

export class Frame {
  /** Records what is called on it: see tree.ts. */
  readonly m: Module = recorder();
  readonly types: {
    readonly i32: WasmType;
    readonly i64: WasmType;
    readonly f32: WasmType;
    readonly v128: WasmType;
  };
  /** Loops around the code that is being emitted: what each wants computed in front of it. */
  readonly #loops: (LoopFront | undefined)[] = [];
  /** Loops around the place where a variable was bound. */
  readonly #boundAt = new Map<number, number>();
  readonly #module: Module;
  readonly #params: ReadonlyMap<string, number>;
  readonly #paramCount: number;
  readonly #poolParam: number;
  /** Memory that a param is the address of: the same number for buffers that may be the same. */
  readonly #memoryOf: ReadonlyMap<number, number>;
  readonly #locals: WasmType[] = [];
  readonly #vars = new Map<number, readonly number[]>();
  readonly #nonNegative = new Set<number>();
  #shared = new Map<Expr, Map<number, number>>();
  readonly #alike = new Map<string, Expr>();
  #regions: Region[] = [];
  #labels = 0;
  #seldom = 0;

  /** Whether relaxed SIMD may be used. */
  readonly relaxed: boolean;
  /** Whether the relaxed dot product takes unsigned bytes on its 7-bit side. */
  readonly unsignedDot: boolean;
  readonly #narrow: NarrowVars;
  readonly #bytes = new Map<number, KeptBytes>();
  readonly #words = new Map<number, number>();
  readonly #relaxedOps: ReturnType<typeof relaxedOps>;

  /** `lead` are parameters in front of those of the program. */
  constructor(
    b: Binaryen,
    m: Module,
    program: Program,
    simd: Relaxed,
    lead: readonly string[] = [],
  ) {
    this.#module = m;
    this.relaxed = simd.relaxed;
    this.unsignedDot = simd.unsignedDot;
    this.#narrow = narrowVars(program);
    this.#relaxedOps = relaxedOps(b, m);
    this.types = { i32: b.i32, i64: b.i64, f32: b.f32, v128: b.v128 };
    const names = [...lead, ...paramNames(program)];
    this.#params = new Map(names.map((n, i) => [n, i]));
    this.#paramCount = names.length;
    // Where the caller gives params up, results may lie where they do.
    const isShared = (x: Buffer): boolean =>
      (program.reuses?.length ?? 0) > 0 && (x.role === 'param' || x.role === 'result');
    this.#memoryOf = new Map(
      program.buffers.map((x) => [this.#params.get(bufferParam(x))!, isShared(x) ? -1 : x.id]),
    );
    this.#poolParam = this.#params.get(poolParam)!;
  }

  // ---- locals ----

  local(type: WasmType): number {
    this.#locals.push(type);
    return this.#paramCount + this.#locals.length - 1;
  }
  get localTypes(): readonly WasmType[] {
    return this.#locals;
  }
  label(): string {
    return `l${this.#labels++}`;
  }

  /** A value now, and again later: the first goes where it runs first. */
  twice(value: Ref, type: WasmType): readonly [first: Ref, again: () => Ref] {
    const at = this.local(type);
    return [this.m.local.tee(at, value, type), () => this.m.local.get(at, type)];
  }

  /** A parameter of `lead`. */
  param(name: string): Ref {
    return this.m.local.get(this.#params.get(name)!, this.types.i32);
  }
  base(buffer: Buffer): Ref {
    return this.m.local.get(this.#params.get(bufferParam(buffer))!, this.types.i32);
  }
  dim(name: string): Ref {
    return this.m.local.get(this.#params.get(dimParam(name))!, this.types.i32);
  }

  // ---- loop IR variables ----

  typeOf(v: { readonly scalar: string; readonly lanes: number }): WasmType {
    if (v.lanes > 1) return this.types.v128;
    return v.scalar === 'f32' ? this.types.f32 : this.types.i32;
  }
  locals(v: Var): readonly number[] {
    let list = this.#vars.get(v.id);
    if (!list) {
      const type = this.typeOf(v.type);
      list = Array.from({ length: chunksOf(v.type.lanes) }, () => this.local(type));
      this.#vars.set(v.id, list);
    }
    return list;
  }
  getVar(v: Var, chunk: number): Ref {
    return this.m.local.get(this.locals(v)[chunk]!, this.typeOf(v.type));
  }
  setVar(v: Var, chunk: number, value: Ref): Ref {
    return this.m.local.set(this.locals(v)[chunk]!, value);
  }
  /** Whether a variable is kept as 16 bytes. */
  isBytes(v: Var): boolean {
    return this.#narrow.vars.has(v.id);
  }
  /** Whether such a variable is only looked at under masks that take off what a shift of 16 bits brings over. */
  isMasked(v: Var): boolean {
    return this.#narrow.masked.has(v.id);
  }
  /** Whether a variable is kept as 8 words of 16 bits, in one local. */
  isWords(v: Var): boolean {
    return this.#narrow.words.has(v.id);
  }
  wordsOf(v: Var): number {
    let at = this.#words.get(v.id);
    if (at === undefined) {
      at = this.local(this.types.v128);
      this.#words.set(v.id, at);
    }
    return at;
  }
  bytesOf(v: Var): KeptBytes {
    let kept = this.#bytes.get(v.id);
    if (!kept) {
      kept = {};
      this.#bytes.set(v.id, kept);
    }
    return kept;
  }
  /** What a variable was bound to. */
  get definition(): Definition {
    return this.#narrow.definition;
  }

  // ---- instructions of relaxed SIMD, or what stands for them ----

  relaxedDot(signed: Ref, seven: Ref, sum: Ref): Ref {
    return this.#relaxedOps.dot(signed, seven, sum);
  }
  mulAdd(a: Ref, b: Ref, c: Ref): Ref {
    if (this.relaxed) return this.#relaxedOps.mulAdd(a, b, c);
    return this.m.f32x4.add(this.m.f32x4.mul(a, b), c);
  }
  /**
   * Floats cut to integers, where code may be relaxed: for NaN 0 or the least integer, which is also what numbers below it
   * give; for those above the greatest one, anything.
   */
  relaxedTrunc(x: Ref): Ref {
    return this.#relaxedOps.trunc(x);
  }
  /** Bytes of a table by indices below 16. */
  swizzle(table: Ref, indices: Ref): Ref {
    if (this.relaxed) return this.#relaxedOps.swizzle(table, indices);
    return this.m.i8x16.swizzle(table, indices);
  }

  markNonNegative(v: Var): void {
    this.#nonNegative.add(v.id);
  }
  isNonNegative(v: Var): boolean {
    return this.#nonNegative.has(v.id);
  }

  // ---- reuse ----

  /** Part `part` of what `e` computes, made at its first use in a statement and kept in a local. */
  once(e: Expr, part: number, type: WasmType, make: () => Ref): Ref {
    let parts = this.#shared.get(e);
    if (!parts) {
      parts = new Map();
      this.#shared.set(e, parts);
    }
    const at = parts.get(part);
    if (at !== undefined) return this.m.local.get(at, type);
    const value = make();
    const fresh = this.local(type);
    parts.set(part, fresh);
    return this.m.local.tee(fresh, value, type);
  }
  /** Keeps part of what `e` computes, to be found by `once` and `kept`. */
  keep(e: Expr, part: number, type: WasmType, value: Ref): Ref {
    const parts = this.#shared.get(e) ?? new Map<number, number>();
    this.#shared.set(e, parts);
    const at = this.local(type);
    parts.set(part, at);
    return this.m.local.set(at, value);
  }
  /** The local that holds a part, and its value, once it is kept. */
  keptAt(e: Expr, part: number): number {
    return this.#shared.get(e)!.get(part)!;
  }
  kept(e: Expr, part: number, type: WasmType): Ref | undefined {
    const at = this.#shared.get(e)?.get(part);
    return at === undefined ? undefined : this.m.local.get(at, type);
  }
  /** Code that seldom runs: what is kept there is not to be had after it, and its constants take no registers. */
  seldom<T>(emit: () => T): T {
    const before = this.#shared;
    this.#shared = new Map([...before].map(([e, parts]) => [e, new Map(parts)]));
    this.#seldom += 1;
    const out = this.inRegion(emit);
    this.#seldom -= 1;
    this.#shared = before;
    return out;
  }
  startStatement(): void {
    this.#shared = new Map();
    this.#alike.clear();
  }
  /** The first expression of a run with this text: what is kept of it is there for all. */
  firstOf(text: string, e: Expr): Expr {
    const first = this.#alike.get(text) ?? e;
    this.#alike.set(text, first);
    return first;
  }

  /** An address by its text, within the innermost straight run of statements. */
  address(key: string, make: () => Ref): Ref {
    const region = this.#regions.at(-1)!;
    const at = region.addresses.get(key);
    if (at !== undefined) return this.m.local.get(at, this.types.i32);
    const value = make();
    const fresh = this.local(this.types.i32);
    region.addresses.set(key, fresh);
    return this.m.local.tee(fresh, value, this.types.i32);
  }
  /** Addresses that depend on a variable are stale once it is set. */
  forget(v: Var): void {
    for (const region of this.#regions)
      for (const key of [...region.addresses.keys()])
        if (key.includes(`v${v.id};`)) region.addresses.delete(key);
  }
  inRegion<T>(emit: () => T): T {
    this.#regions.push({ addresses: new Map() });
    const out = emit();
    this.#regions.pop();
    return out;
  }

  // ---- loops ----

  get loopDepth(): number {
    return this.#loops.length;
  }
  /** Emits the body of a loop; `front` comes right before it. Loops that test in the middle have no front. */
  inLoop(
    emit: () => Ref,
    hasFront: boolean,
  ): { readonly front: readonly Ref[]; readonly body: Ref } {
    const front = hasFront ? { setup: [], known: new Map() } : undefined;
    this.#loops.push(front);
    const body = emit();
    this.#loops.pop();
    return { front: front?.setup ?? [], body };
  }
  bindsHere(v: Var): void {
    this.#boundAt.set(v.id, this.loopDepth);
  }
  /** Whether a variable was bound in front of the innermost loop, and that can compute things there. */
  isOutside(v: Var): boolean {
    const at = this.#boundAt.get(v.id);
    return at !== undefined && at < this.loopDepth && this.#loops.at(-1) !== undefined;
  }
  /** A value that the innermost loop does not change, computed in front of it. */
  inFront(key: string, make: () => Ref): Ref {
    const front = this.#loops.at(-1)!;
    let at = front.known.get(key);
    if (at === undefined) {
      at = this.local(this.types.i32);
      front.known.set(key, at);
      front.setup.push(this.m.local.set(at, make()));
    }
    return this.m.local.get(at, this.types.i32);
  }

  // ---- constants ----

  /** A vector constant; zeros and ones are cheaper than a register. */
  vector(bytes: readonly number[]): Ref {
    const trivial = bytes.every((x) => x === 0) || bytes.every((x) => x === 255);
    return trivial ? this.m.v128.const(bytes) : this.register(bytes);
  }
  /** A constant that is worth a register, whatever it is. */
  register(bytes: readonly number[]): Ref {
    if (this.loopDepth === 0 || this.#seldom > 0) return this.m.v128.const(bytes);
    return asRef(new Constant(bytes));
  }
  vectorI32(lanes: readonly number[]): Ref {
    return this.vector([...new Uint8Array(Int32Array.from(lanes).buffer)]);
  }
  vectorI16(lanes: readonly number[]): Ref {
    return this.vector([...new Uint8Array(Int16Array.from(lanes).buffer)]);
  }
  vectorF32(lanes: readonly number[]): Ref {
    return this.vector([...new Uint8Array(Float32Array.from(lanes).buffer)]);
  }

  // ---- the whole ----

  /** The code of the function in the module, once `placed`; without the pool's parameter if that has nothing. */
  built(code: Ref, pool: Pool): Ref {
    const at = this.#poolParam;
    const localOf = (local: number): number => (pool.isEmpty && local > at ? local - 1 : local);
    return build(this.#module, asNode(code), localOf);
  }
  /** The code with as few registers as may be: what may be read again is, and constants have their places. */
  placed(code: Ref, pool: Pool): Ref {
    const { i32, f32, v128 } = this.types;
    const locals = {
      i32,
      v128,
      pool: this.#poolParam,
      fresh: (type: WasmType) => this.local(type),
      isRegister: (local: number) => [f32, v128].includes(this.#locals[local - this.#paramCount]!),
      isBuffer: (local: number) => this.#memoryOf.has(local),
    };
    const root = asNode(code);
    constantsOfNames(root);
    constantsLate(root, locals);
    reload(root, locals, (a, b) => this.#mayMeet(a, b));
    const setup = placeConstants(root, locals, pool);
    return setup.length ? this.m.block(null, [...setup.map(asRef), code]) : code;
  }

  /** Buffers of unlike memory never meet; of addresses that come from no buffer nothing is known. */
  #mayMeet(a: ReadonlySet<number>, b: ReadonlySet<number>): boolean {
    if (a.size === 0 || b.size === 0) return true;
    const memory = new Set([...a].map((x) => this.#memoryOf.get(x)));
    return [...b].some((x) => memory.has(this.#memoryOf.get(x)));
  }
}

const bufferParam = (b: { readonly id: number }): string => `b${b.id}`;
const dimParam = (name: string): string => `d:${name}`;
const poolParam = 'constants';
/** Parameters of every function of the module: addresses of the buffers, that of the pool last, then values of the dims. */
const paramNames = (p: Program): readonly string[] => [
  ...p.buffers.map(bufferParam),
  poolParam,
  ...p.dims.map(dimParam),
];
/** How many there are. */
export const paramCount = (p: Program, pool: Pool): number =>
  p.buffers.length + (pool.isEmpty ? 0 : 1) + p.dims.length;
