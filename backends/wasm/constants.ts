// Vector constants of loops. V8 builds a `v128.const` anew where it stands, by four instructions, so constants of loops are
// locals, which are set when a function begins, as long as there are registers for them. Those that a loop has no register
// for are loaded where they are used, from a buffer of constants: the ones that the loop uses least.
import type { Buffer, Program } from '../../compiler/loops/loops.ts';
import { Poly } from '../../compiler/ir/algebra.ts';
import type { WasmType } from './binaryen.ts';
import { type Pressure, pressureOf } from './pressure.ts';
import { current, Node } from './tree.ts';

/** Vector registers that code may keep values in: those of SSE and AVX but one, which V8 keeps for itself. */
export const vectorRegisters = 15;

/** A constant of a loop, which has a place to be found. */
export class Constant extends Node {
  readonly bytes: readonly number[];
  constructor(bytes: readonly number[]) {
    super('v128.const', [bytes]);
    this.bytes = bytes;
  }
}

/** The same for constants that are the same. */
export const constantKey = (n: Node): string | undefined =>
  n instanceof Constant ? n.bytes.join() : undefined;

/** The constants of a program that are loaded: none, if it `isClosed`. */
export class Pool {
  readonly isClosed: boolean;
  readonly #places = new Map<string, number>();
  readonly #bytes: number[] = [];

  constructor(isClosed: boolean) {
    this.isClosed = isClosed;
  }
  get isEmpty(): boolean {
    return this.#bytes.length === 0;
  }
  /** The place of a constant, in bytes. */
  at(bytes: readonly number[]): number {
    const key = bytes.join();
    let place = this.#places.get(key);
    if (place === undefined) {
      place = this.#bytes.length;
      this.#places.set(key, place);
      this.#bytes.push(...bytes);
    }
    return place;
  }
  /** The buffer as the last of a program's, with what was put into it so far. */
  addedTo(program: Program): Program {
    const data = [...new Int32Array(Uint8Array.from(this.#bytes).buffer)];
    const buffer: Buffer = {
      id: 1 + program.buffers.reduce((most, b) => Math.max(most, b.id), -1),
      name: 'constants',
      dtype: 'i32',
      role: 'const',
      size: Poly.of(data.length),
      data,
    };
    return { ...program, buffers: [...program.buffers, buffer] };
  }
}

/** What changes to the tree of a function need to know of it. */
export interface Locals {
  readonly i32: WasmType;
  readonly v128: WasmType;
  /** A new local. */
  fresh(type: WasmType): number;
  /** Whether a local lies in a vector register. */
  isRegister(local: number): boolean;
  /** Whether it is the address of a buffer, as the caller gave it. */
  isBuffer(local: number): boolean;
  /** The local that holds the address of the pool. */
  readonly pool: number;
}

/** Finds places for all constants of loops; what sets those in locals, to run first. */
export function placeConstants(root: Node, locals: Locals, pool: Pool): readonly Node[] {
  const held = new Map<string, { readonly local: number; readonly constant: Constant }>();
  const pressure = pressureOf(root, (l) => locals.isRegister(l), constantKey);
  const hold = (key: string, nodes: readonly Node[]): void => {
    const known = held.get(key) ?? {
      local: locals.fresh(locals.v128),
      constant: nodes[0] as Constant,
    };
    held.set(key, known);
    for (const n of nodes) n.instead = new Node('local.get', [known.local, locals.v128]);
  };
  pressure.loops.forEach(({ most, kept }, loop) => {
    const byUse = [...kept].sort(([, a], [, b]) => b.length - a.length);
    // Of a loop that has too few registers anyway the engine chooses what it keeps.
    if (pool.isClosed || most + byUse.length <= vectorRegisters || most > vectorRegisters) {
      for (const [key, nodes] of byUse) hold(key, nodes);
      return;
    }
    let best: { readonly held: number; readonly stays: Stays } | undefined;
    for (let n = vectorRegisters - most; n >= 0; n -= 1) {
      const rest = byUse.slice(n).map(([, nodes]) => nodes);
      const stays = staysOf(rest, pressure, loop, n);
      if (!best || stays.loads < best.stays.loads) best = { held: n, stays };
    }
    for (const [key, nodes] of byUse.slice(0, best!.held)) hold(key, nodes);
    for (const [, nodes] of byUse.slice(best!.held)) loadedWhere(nodes, best!.stays, locals, pool);
  });
  return [...held.values()].map(
    ({ local, constant }) =>
      new Node('local.set', [local, new Node('v128.const', [constant.bytes])]),
  );
}

/** Uses of constants that find them in a register, as the use before left them there. */
interface Stays {
  readonly found: ReadonlySet<Node>;
  readonly loads: number;
}

/** Which constants stay from one use to the next, short waits first, while `held` registers are taken by others. */
function staysOf(
  constants: readonly (readonly Node[])[],
  { wanted, place }: Pressure,
  loop: number,
  held: number,
): Stays {
  const now = wanted.slice(...place.loops[loop]!).map((n) => n + held);
  const start = place.loops[loop]![0];
  const waits = constants
    .flatMap((nodes) =>
      nodes.slice(1).map((node, i) => {
        const [from, to] = [place.of.get(nodes[i]!)!, place.of.get(node)!];
        return { node, from: from.at, to: to.at, isStraight: from.piece === to.piece };
      }),
    )
    .filter((w) => w.isStraight)
    .sort((a, b) => a.to - a.from - (b.to - b.from));
  const found = new Set<Node>();
  for (const { node, from, to } of waits) {
    let isFree = true;
    for (let i = from + 1; i <= to && isFree; i += 1) isFree = now[i - start]! < vectorRegisters;
    if (!isFree) continue;
    for (let i = from + 1; i <= to; i += 1) now[i - start]! += 1;
    found.add(node);
  }
  const uses = constants.reduce((sum, nodes) => sum + nodes.length, 0);
  return { found, loads: uses - found.size };
}

/** Loads a constant where it is used, but for uses that find it. */
function loadedWhere(nodes: readonly Node[], { found }: Stays, locals: Locals, pool: Pool): void {
  const offset = pool.at((nodes[0] as Constant).bytes);
  let local = -1;
  nodes.forEach((n, i) => {
    if (found.has(n)) {
      n.instead = new Node('local.get', [local, locals.v128]);
      return;
    }
    const address = new Node('local.get', [locals.pool, locals.i32]);
    const load = new Node('v128.load', [offset, 16, address]);
    const stays = i + 1 < nodes.length && found.has(nodes[i + 1]!);
    if (stays) local = locals.fresh(locals.v128);
    n.instead = stays ? new Node('local.tee', [local, load, locals.v128]) : load;
  });
}

/** Makes constants of what loops read that was set to one in front of them. */
export function constantsOfNames(root: Node): void {
  const bytes = new Map<number, readonly number[] | undefined>();
  const gets: [number, Node][] = [];
  const visit = (node: Node, isLoop: boolean): void => {
    const n = current(node);
    const [local, value] = n.args as [number, Node];
    if (n.op === 'local.get' && isLoop) gets.push([local, n]);
    if (n.op === 'local.set' || n.op === 'local.tee') {
      const isConstant = !bytes.has(local) && current(value).op === 'v128.const';
      bytes.set(local, isConstant ? (current(value).args[0] as readonly number[]) : undefined);
    }
    for (const a of n.args)
      for (const c of Array.isArray(a) ? a : [a])
        if (c instanceof Node) visit(c, isLoop || n.op === 'loop');
  };
  visit(root, false);
  for (const [local, n] of gets) {
    const value = bytes.get(local);
    if (value) n.instead = new Constant(value);
  }
}
