// Text of one kernel under construction: lines at their indents, names of variables, the parts of the prelude in use, and
// which variables are the same in all threads of a group.
import { CompileError, diagnostic, noSpan } from '../../compiler/diagnostics/diagnostic.ts';
import type { Buffer, Expr, Var } from '../../compiler/loops/loops.ts';
import type { Layout, Place } from './layout.ts';
import { type PartName, partName, type Use, useOf } from './prelude.ts';
import { Names, piecesOf } from './types.ts';

export const fault = (detail: string): CompileError =>
  new CompileError([diagnostic('Q9001', noSpan, { detail })]);

/** One piece of a value. `all`: a scalar that stands for every lane of the piece. */
export interface Text {
  readonly text: string;
  readonly level: number;
  readonly all?: true;
}

export interface GroupMemory {
  readonly declared: string;
  readonly bytes: number;
}

export interface Module {
  readonly layout: Layout;
  /** Of the buffers that the launch touches. */
  readonly places: ReadonlyMap<number, Place>;
  readonly used: Set<Use>;
  /** Functions of this program, by name: those that combine values of a team, and that find windows. */
  readonly functions: Map<string, string>;
  /** Workgroup memory of those, by variable: what any of them needs. */
  readonly memory: Map<string, GroupMemory>;
  /** Members of the launch's teams hand each other what lies in memory of the device. */
  readonly meetInStorage: boolean;
  /** The variables that the launch under construction has. */
  readonly shared: Set<string>;
  /** Features of the language that may be used. */
  readonly features: ReadonlySet<string>;
}

export class Writer {
  readonly lines: string[] = [];
  readonly module: Module;
  /** Threads of a group. */
  readonly threads: number;
  /** Variables that have the same value in all threads of a group, in the eyes of WGSL. */
  readonly uniform = new Set<number>();
  /** Loops whose iterations are divided among threads around the statement. */
  divided = 0;
  /** What parts of the current statement were computed into, and how often each is used. */
  made = new Map<Expr, readonly Text[]>();
  uses = new Map<Expr, number>();
  readonly #names: Names;
  readonly #wishes: ReadonlyMap<number, string>;
  #indent = 1;

  /** `wishes`: names that variables would better have. */
  constructor(module: Module, threads: number, wishes: ReadonlyMap<number, string> = new Map()) {
    this.module = module;
    this.threads = threads;
    this.#wishes = wishes;
    this.#names = new Names(module.layout.names);
  }

  line(text: string): void {
    this.lines.push(`${'  '.repeat(this.#indent)}${text}`);
  }
  block(head: string, body: () => void, tail = '}'): void {
    this.line(`${head} {`);
    this.indented(body);
    this.line(tail);
  }
  indented(body: () => void): void {
    this.#indent += 1;
    body();
    this.#indent -= 1;
  }

  /** Workgroup memory that functions of this launch need: the most that any of the program does. */
  share(name: string, bytes: number, declared: (bytes: number) => string): void {
    const { memory, shared } = this.module;
    const most = Math.max(bytes, memory.get(name)?.bytes ?? 0);
    memory.set(name, { bytes: most, declared: declared(most) });
    shared.add(name);
  }

  /** The name of a part of the prelude for operands of a width. */
  use(name: PartName, width: number): string {
    this.module.used.add(useOf(name, width));
    return partName(name, width);
  }
  place(b: Buffer): Place {
    const place = this.module.places.get(b.id);
    if (!place) throw fault(`the buffer ${b.name} has no place`);
    return place;
  }
  dim(name: string): string {
    return this.module.layout.dims.get(name)!;
  }
  /** Names of the pieces of a variable. */
  variable(v: Var): readonly string[] {
    const name = this.#names.of(v.id, this.#wishes.get(v.id) ?? v.name);
    const count = piecesOf(v.type.lanes);
    return count === 1 ? [name] : Array.from({ length: count }, (_, i) => `${name}_p${i}`);
  }
  temp(wish: string): string {
    return this.#names.fresh(wish);
  }
}
