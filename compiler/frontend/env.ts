// Lexical scopes of the staged program.
import { fail } from '../diagnostics/diagnostic.ts';
import { nearest } from '../diagnostics/near.ts';
import type { Val } from './values.ts';

export interface Binding {
  readonly name: string;
  readonly mutable: boolean;
  /** Run-time regions (bodies of loops, branches, maps) that were open at the declaration. */
  readonly depth: number;
  value: Val;
  /** Declared, but without a value yet: why. */
  unset?: string | undefined;
  /** Its initialiser failed; uses are silent, the failure is already reported. */
  poisoned?: boolean | undefined;
}

/** Thrown on use of a variable whose definition failed; never shown. */
export class Poisoned extends Error {
  override readonly name = 'Poisoned';
}

/** Thrown when a region must be traced again, with other types. */
export class Retrace extends Error {}

/** Finds what an imported name stands for; asked at each use, because modules may import each other. */
type Link = () => Binding | undefined;

export class Env {
  readonly #names = new Map<string, Binding | Link>();
  readonly #outer: Env | undefined;

  constructor(outer?: Env) {
    this.#outer = outer;
  }

  declare(name: string, value: Val, mutable: boolean, depth: number): Binding {
    const binding: Binding = { name, mutable, depth, value };
    this.#names.set(name, binding);
    return binding;
  }

  link(name: string, link: Link): void {
    this.#names.set(name, link);
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  find(name: string): Binding | undefined {
    const own = this.#names.get(name);
    if (typeof own !== 'function') return own ?? this.#outer?.find(name);
    return (
      own() ?? {
        name,
        mutable: false,
        depth: 0,
        value: undefined,
        unset: 'its file is still being evaluated',
      }
    );
  }

  get(name: string): Val {
    const b = this.find(name);
    if (!b) {
      const near = nearest(name, this.names());
      return fail('Q1003', { name, ...(near ? { near } : {}) });
    }
    if (b.poisoned) throw new Poisoned(name);
    if (b.unset !== undefined) return fail('Q1016', { name, found: b.unset });
    return b.value;
  }

  names(): string[] {
    return [...this.#names.keys(), ...(this.#outer?.names() ?? [])];
  }
}
