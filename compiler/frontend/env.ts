// Lexical scopes of the staged program, and the journal that tells which outer variables a run-time loop or
// branch has assigned.
import { fail } from '../diagnostics/diagnostic.ts';
import { nearest } from '../diagnostics/near.ts';
import type { Val } from './values.ts';

export interface Binding {
  readonly name: string;
  readonly mutable: boolean;
  /** Depth of run-time regions (loops, branches, maps) at the declaration. */
  readonly depth: number;
  value: Val;
  /** Declared but not yet initialised. */
  unset?: boolean;
  /** Its initialiser failed; uses are silent, the failure is already reported. */
  poisoned?: boolean;
}

/** Thrown on use of a variable whose definition failed; never shown. */
export class Poisoned extends Error {}

export class Env {
  readonly #names = new Map<string, Binding>();
  readonly #outer: Env | undefined;

  constructor(outer?: Env) {
    this.#outer = outer;
  }

  declare(name: string, value: Val, mutable: boolean, depth: number): Binding {
    const binding: Binding = { name, mutable, depth, value };
    this.#names.set(name, binding);
    return binding;
  }

  find(name: string): Binding | undefined {
    return this.#names.get(name) ?? this.#outer?.find(name);
  }

  get(name: string): Val {
    const b = this.find(name);
    if (!b) return fail('Q1003', { name, ...this.#near(name) });
    if (b.poisoned) throw new Poisoned(name);
    if (b.unset) return fail('Q1016', { name, found: 'no value yet' });
    return b.value;
  }

  names(): string[] {
    return [...this.#names.keys(), ...(this.#outer?.names() ?? [])];
  }

  own(): Binding[] {
    return [...this.#names.values()];
  }

  #near(name: string): { near?: string } {
    const near = nearest(name, this.names());
    return near ? { near } : {};
  }
}
