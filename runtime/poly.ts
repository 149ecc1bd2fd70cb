// Symbolic sizes of a manifest, at dispatch: compiled once to closures over a vector of dim values,
// and solved from the shapes of the arguments. Nothing here allocates on the way of a warm call.
import type { ArgInfo, Manifest, PolyCode } from '../compiler/artifact.ts';
import { raise } from './errors.ts';

/** Value of a symbolic integer for the dims, in the order of the manifest. May be fractional (K / 32). */
export type PolyFunction = (dims: readonly number[]) => number;

interface Node {
  readonly run: PolyFunction;
  /** Highest power of each dim in the node; NaN where floor division hides it. */
  readonly degree: ReadonlyMap<number, number>;
}

const merge = (a: Node, b: Node, by: (x: number, y: number) => number): Map<number, number> => {
  const out = new Map<number, number>();
  for (const k of new Set([...a.degree.keys(), ...b.degree.keys()]))
    out.set(k, by(a.degree.get(k) ?? 0, b.degree.get(k) ?? 0));
  return out;
};

function combine(op: string, a: Node, b: Node): Node {
  const x = a.run;
  const y = b.run;
  switch (op) {
    case '+':
      return { run: (d) => x(d) + y(d), degree: merge(a, b, Math.max) };
    case '*':
      return { run: (d) => x(d) * y(d), degree: merge(a, b, (p, q) => p + q) };
    case '/':
      return {
        run: (d) => x(d) / y(d),
        degree: merge(a, b, (p, q) => (q === 0 ? p : Number.NaN)),
      };
    default:
      return { run: (d) => Math.floor(x(d) / y(d)), degree: merge(a, b, () => Number.NaN) };
  }
}

function parse(code: PolyCode, dims: readonly string[]): Node {
  const stack: Node[] = [];
  for (const item of code) {
    if (typeof item === 'number') {
      stack.push({ run: () => item, degree: new Map() });
    } else if (item === '+' || item === '*' || item === '/' || item === 'div') {
      const b = stack.pop();
      const a = stack.pop();
      if (!a || !b) throw new RangeError(`malformed size in the manifest: ${JSON.stringify(code)}`);
      stack.push(combine(item, a, b));
    } else {
      const i = dims.indexOf(item);
      if (i < 0) throw new RangeError(`unknown dim ${item} in the manifest`);
      stack.push({ run: (d) => d[i]!, degree: new Map([[i, 1]]) });
    }
  }
  if (stack.length !== 1) throw new RangeError(`malformed size: ${JSON.stringify(code)}`);
  return stack[0]!;
}

/** Compiles a postfix size to a function of the dims. */
export const compilePoly = (code: PolyCode, dims: readonly string[]): PolyFunction =>
  parse(code, dims).run;

/** Evaluates a size once; `compilePoly` is for repeated use. */
export const evaluatePoly = (code: PolyCode, env: { readonly [dim: string]: number }): number => {
  const names = Object.keys(env);
  return compilePoly(code, names)(names.map((n) => env[n]!));
};

/** A size as an author would write it: `K / 32`. */
export function polyText(code: PolyCode): string {
  const stack: { text: string; sum: boolean }[] = [];
  const wrap = (x: { text: string; sum: boolean }): string => (x.sum ? `(${x.text})` : x.text);
  for (const item of code) {
    if (item === '+' || item === '*' || item === '/' || item === 'div') {
      const b = stack.pop()!;
      const a = stack.pop()!;
      const sign = item === 'div' ? ' div ' : item === '*' ? '*' : ` ${item} `;
      const text = item === '+' ? `${a.text} + ${b.text}` : `${wrap(a)}${sign}${wrap(b)}`;
      stack.push({ text, sum: item !== '*' });
    } else stack.push({ text: String(item), sum: false });
  }
  return stack[0]?.text ?? '?';
}

/** One axis of one argument: it either gives a dim its value or must agree with the known ones. */
interface AxisStep {
  readonly arg: number;
  readonly axis: number;
  readonly text: string;
  readonly run: PolyFunction;
  /** Dim that this axis determines, or -1. */
  readonly solves: number;
  /** Dims that occur, for the message. */
  readonly uses: readonly number[];
  /** The axis is the dim itself: no arithmetic is needed. */
  readonly alone: boolean;
}

/** A compiled signature: `solve` turns shapes into dims, or says which argument is wrong and why. */
export class DimSolver {
  readonly #kernel: string;
  readonly #names: readonly string[];
  readonly #args: readonly ArgInfo[];
  readonly #steps: readonly AxisStep[];
  readonly #unsolved: readonly number[];
  readonly #constraints: readonly {
    run: PolyFunction;
    modulus: number;
    text: string;
    reason: string;
  }[];
  /** Argument that determines each dim. */
  readonly #source: number[];
  readonly #where: (arg: number) => string;

  constructor(
    manifest: Pick<Manifest, 'name' | 'dims' | 'constraints'>,
    args: readonly ArgInfo[],
    where = (arg: number): string => `argument ${args[arg]!.name}`,
  ) {
    this.#kernel = manifest.name;
    this.#names = manifest.dims;
    this.#args = args;
    this.#where = where;
    this.#source = manifest.dims.map(() => -1);
    this.#steps = this.#plan();
    this.#unsolved = this.#source.flatMap((s, i) => (s < 0 ? [i] : []));
    this.#constraints = manifest.constraints.map((c) => ({
      run: compilePoly(c.poly, manifest.dims),
      modulus: c.modulus,
      text: c.text,
      reason: c.reason,
    }));
  }

  /** Orders the axes so that each one has at most one unknown, to the first power. */
  #plan(): AxisStep[] {
    const todo = this.#args.flatMap((info, arg) =>
      info.shape.map((code, axis) => {
        const node = parse(code, this.#names);
        return { arg, axis, node, code, alone: code.length === 1 && typeof code[0] === 'string' };
      }),
    );
    const steps: AxisStep[] = [];
    const known = new Set<number>();
    while (todo.length > 0) {
      const unknowns = (n: Node): number[] => [...n.degree.keys()].filter((d) => !known.has(d));
      const solvable = (t: (typeof todo)[number]): boolean => {
        const u = unknowns(t.node);
        return u.length === 0 || (u.length === 1 && t.node.degree.get(u[0]!) === 1);
      };
      // A dim alone is the best source, wherever it stands: its message is the plainest.
      let i = todo.findIndex((t) => t.alone || unknowns(t.node).length === 0);
      if (i < 0) i = todo.findIndex(solvable);
      if (i < 0) break;
      const [t] = todo.splice(i, 1);
      const { arg, axis, node, code, alone } = t!;
      const solves = unknowns(node)[0] ?? -1;
      if (solves >= 0) {
        known.add(solves);
        this.#source[solves] = arg;
      }
      const uses = [...node.degree.keys()];
      steps.push({ arg, axis, text: polyText(code), run: node.run, solves, uses, alone });
    }
    return steps;
  }

  /** Fills `dims` (in manifest order) from one shape an argument. Throws the exact disagreement. */
  solve(shapes: readonly (readonly number[])[], dims: number[]): void {
    for (let a = 0; a < this.#args.length; a++) {
      const info = this.#args[a]!;
      if (shapes[a]!.length !== info.shape.length)
        raise('Q5004', {
          kernel: this.#kernel,
          where: this.#where(a),
          found: `[${shapes[a]!.join(', ')}]`,
          expected: info.text,
        });
    }
    dims.length = this.#names.length;
    let doubtful = false;
    for (const s of this.#steps) {
      const size = shapes[s.arg]![s.axis]!;
      if (s.solves < 0) {
        const want = s.run(dims);
        // A fraction means that some constraint fails; its own message is the better one.
        if (!Number.isInteger(want)) doubtful = true;
        else if (want !== size) this.#disagree(s, size, want, dims);
      } else if (s.alone) dims[s.solves] = size;
      else this.#solveAxis(s, size, dims);
    }
    for (const i of this.#unsolved) raise('Q5007', { kernel: this.#kernel, dim: this.#names[i]! });
    for (const c of this.#constraints) {
      const value = c.run(dims);
      if (value % c.modulus !== 0)
        raise('Q5006', {
          kernel: this.#kernel,
          text: c.text,
          modulus: c.modulus,
          reason: c.reason,
          value,
        });
    }
    if (!doubtful) return;
    for (const s of this.#steps) {
      const want = s.run(dims);
      const size = shapes[s.arg]![s.axis]!;
      if (want !== size) this.#disagree(s, size, want, dims);
    }
  }

  /** The axis is affine in one unknown: two samples give the line, and the root is verified. */
  #solveAxis(s: AxisStep, size: number, dims: number[]): void {
    dims[s.solves] = 0;
    const low = s.run(dims);
    dims[s.solves] = 1;
    const slope = s.run(dims) - low;
    const root = slope === 0 ? 0 : Math.round((size - low) / slope);
    dims[s.solves] = root;
    if (root >= 0 && s.run(dims) === size) return;
    raise('Q5005', {
      kernel: this.#kernel,
      where: this.#where(s.arg),
      axis: s.axis,
      size,
      wanted: `no ${this.#names[s.solves]} makes ${s.text} that size`,
    });
  }

  #disagree(s: AxisStep, size: number, want: number, dims: readonly number[]): never {
    const facts = s.uses.map((d) => {
      const source = this.#source[d]!;
      const from = source === s.arg ? 'the same argument' : this.#where(source);
      return `${this.#names[d]} = ${dims[d]} from ${from}`;
    });
    const wanted = s.alone
      ? facts[0]!
      : s.uses.length === 0
        ? `it must be ${want}`
        : `${s.text} = ${want} with ${facts.join(', ')}`;
    raise('Q5005', {
      kernel: this.#kernel,
      where: this.#where(s.arg),
      axis: s.axis,
      size,
      wanted,
    });
  }
}
