// Symbolic integers: polynomials with rational coefficients over named atoms, in normal form.
// Shapes (`K / 32`, `2*M`) and index arithmetic (`n*K + kb*32 + lane`) are both values of this type, so that
// one simplifier serves the shape checker and the address generator. `K / 32` is the exact quotient: whoever
// writes it also owes the constraint that 32 divides K; floor division is an atom of its own.

/** An indeterminate: a dim of the kernel's signature, a loop variable, a lane number, or a floor division. */
export interface Atom {
  readonly key: string;
  readonly kind: 'dim' | 'var' | 'lane' | 'div';
  /** Exclusive upper bound, when one is known; every atom is >= 0. */
  readonly extent?: Poly;
  /** kind 'div': floor(num / den). */
  readonly num?: Poly;
  readonly den?: Poly;
}

interface Term {
  readonly n: number;
  readonly d: number;
  readonly atoms: readonly Atom[];
}

const gcd = (a: number, b: number): number => {
  a = Math.abs(a);
  b = Math.abs(b);
  while (b) [a, b] = [b, a % b];
  return a;
};
const lcm = (a: number, b: number): number => (a / gcd(a, b)) * b;
const monomial = (atoms: readonly Atom[]): string => atoms.map((a) => a.key).join('*');

export class Poly {
  readonly terms: ReadonlyMap<string, Term>;
  #text: string | undefined;

  private constructor(terms: ReadonlyMap<string, Term>) {
    this.terms = terms;
  }

  static from(list: readonly Term[]): Poly {
    const out = new Map<string, Term>();
    for (const t of list) {
      const key = monomial(t.atoms);
      const old = out.get(key);
      const n = old ? old.n * t.d + t.n * old.d : t.n;
      const d = old ? old.d * t.d : t.d;
      const g = gcd(n, d) || 1;
      if (n === 0) out.delete(key);
      else out.set(key, { n: n / g, d: d / g, atoms: t.atoms });
    }
    return new Poly(out);
  }

  static of(x: number | Poly): Poly {
    if (x instanceof Poly) return x;
    if (!Number.isSafeInteger(x)) throw new RangeError(`not an integer: ${x}`);
    return Poly.from([{ n: x, d: 1, atoms: [] }]);
  }

  static atom(a: Atom): Poly {
    return Poly.from([{ n: 1, d: 1, atoms: [a] }]);
  }

  static dim(name: string): Poly {
    return Poly.atom({ key: name, kind: 'dim' });
  }

  /** The value, when no atom is left. */
  get constant(): number | undefined {
    if (this.terms.size === 0) return 0;
    const t = this.terms.get('');
    return t && this.terms.size === 1 ? t.n / t.d : undefined;
  }

  add(o: Poly | number): Poly {
    return Poly.from([...this.terms.values(), ...Poly.of(o).terms.values()]);
  }
  neg(): Poly {
    return this.mul(-1);
  }
  sub(o: Poly | number): Poly {
    return this.add(Poly.of(o).neg());
  }
  mul(o: Poly | number): Poly {
    const out: Term[] = [];
    for (const a of this.terms.values())
      for (const b of Poly.of(o).terms.values())
        out.push({
          n: a.n * b.n,
          d: a.d * b.d,
          atoms: [...a.atoms, ...b.atoms].sort((x, y) =>
            x.key < y.key ? -1 : x.key > y.key ? 1 : 0,
          ),
        });
    return Poly.from(out);
  }

  equals(o: Poly | number): boolean {
    return this.sub(o).terms.size === 0;
  }

  /** Exact quotient in the field of coefficients: by a non-zero number or a single product. */
  over(o: Poly | number): Poly | undefined {
    const q = Poly.of(o);
    if (q.terms.size !== 1) return q.terms.size > 1 && this.equals(q) ? Poly.of(1) : undefined;
    const [t] = q.terms.values();
    const out: Term[] = [];
    for (const s of this.terms.values()) {
      const rest = [...s.atoms];
      for (const a of t!.atoms) {
        const i = rest.findIndex((r) => r.key === a.key);
        if (i < 0) return undefined;
        rest.splice(i, 1);
      }
      out.push({ n: s.n * t!.d, d: s.d * t!.n, atoms: rest });
    }
    return Poly.from(out.map((s) => (s.d < 0 ? { ...s, n: -s.n, d: -s.d } : s)));
  }

  atoms(): Atom[] {
    const out = new Map<string, Atom>();
    for (const t of this.terms.values()) for (const a of t.atoms) out.set(a.key, a);
    return [...out.values()];
  }

  /** Every atom that the value depends on, those inside floor divisions included. */
  leaves(): Atom[] {
    const out = new Map<string, Atom>();
    for (const a of this.atoms()) {
      if (a.kind === 'div')
        for (const b of [...a.num!.leaves(), ...a.den!.leaves()]) out.set(b.key, b);
      else out.set(a.key, a);
    }
    return [...out.values()];
  }

  /** Coefficient polynomial of an atom that occurs to the first power only; undefined otherwise. */
  coefficient(key: string): Poly | undefined {
    const out: Term[] = [];
    for (const t of this.terms.values()) {
      const hits = t.atoms.filter((a) => a.key === key).length;
      if (hits > 1) return undefined;
      if (hits === 1) out.push({ ...t, atoms: t.atoms.filter((a) => a.key !== key) });
    }
    if (
      this.atoms().some(
        (a) =>
          a.kind === 'div' &&
          Poly.atom(a)
            .leaves()
            .some((b) => b.key === key),
      )
    )
      return undefined;
    return Poly.from(out);
  }

  substitute(by: (a: Atom) => Poly | undefined): Poly {
    let out = Poly.of(0);
    for (const t of this.terms.values()) {
      let p = Poly.from([{ n: t.n, d: t.d, atoms: [] }]);
      for (const a of t.atoms) {
        const r = by(a);
        if (r) p = p.mul(r);
        else if (a.kind === 'div')
          p = p.mul(floorDiv(a.num!.substitute(by), a.den!.substitute(by)));
        else p = p.mul(Poly.atom(a));
      }
      out = out.add(p);
    }
    return out;
  }

  evaluate(env: (a: Atom) => number): number {
    let sum = 0;
    for (const t of this.terms.values()) {
      let v = t.n;
      for (const a of t.atoms)
        v *= a.kind === 'div' ? Math.floor(a.num!.evaluate(env) / a.den!.evaluate(env)) : env(a);
      sum += v / t.d;
    }
    return sum;
  }

  /** Inclusive bounds, from the extents of the atoms; infinite where nothing is known. */
  bounds(): readonly [number, number] {
    let [lo, hi] = [0, 0];
    const remainder = this.#remainder();
    if (remainder) {
      const [a, b] = remainder.rest.bounds();
      return [a, b + remainder.most];
    }
    for (const t of this.terms.values()) {
      let a = 1;
      let b = 1;
      for (const atom of t.atoms) {
        const [x, y] = atomBounds(atom);
        a *= x;
        b = b === 0 || y === 0 ? 0 : b * y;
      }
      const c = t.n / t.d;
      lo += c > 0 ? c * a : b === Infinity ? -Infinity : c * b;
      hi += c > 0 ? (b === Infinity ? Infinity : c * b) : c * a;
    }
    return [lo, hi];
  }

  /** A part k * (x - c * floor(x / c)), which is from 0 to `most`, taken out. */
  #remainder(): { readonly rest: Poly; readonly most: number } | undefined {
    for (const t of this.terms.values()) {
      const [a, ...others] = t.atoms;
      const c = a?.kind === 'div' && !others.length ? a.den!.constant : undefined;
      if (!c || c < 0 || t.d !== 1 || t.n >= 0 || t.n % c !== 0 || splitsLanes(a!)) continue;
      const k = -t.n / c;
      const rest = this.sub(a!.num!.sub(Poly.atom(a!).mul(c)).mul(k));
      if (rest.terms.size < this.terms.size - a!.num!.terms.size)
        return { rest, most: k * (c - 1) };
    }
    return undefined;
  }

  /** Largest integer known to divide the value, given that whole quotients such as K / 32 are integers. */
  multiple(): number {
    let g = 0;
    for (const t of this.terms.values()) {
      if (t.d === 1) g = gcd(g, t.n);
      else if (t.n % t.d === 0) g = gcd(g, t.n / t.d);
      else return 1;
    }
    return g;
  }

  toString(): string {
    this.#text ??= print(this);
    return this.#text;
  }
}

/** Whether lanes of a vector have different quotients: such a place is a vector of its own, with bounds that are enforced. */
const splitsLanes = (a: Atom): boolean => a.num!.leaves().some((l) => l.kind === 'lane');

function atomBounds(a: Atom): readonly [number, number] {
  if (a.kind === 'div') {
    const den = a.den!.constant;
    const [lo, hi] = a.num!.bounds();
    return den ? [Math.max(0, Math.floor(lo / den)), Math.floor(hi / den)] : [0, Infinity];
  }
  const c = a.extent?.constant;
  return [0, c === undefined ? Infinity : Math.max(0, c - 1)];
}

/**
 * floor(p / c), simplified where the part that c does not divide is provably within [0, c).
 * The value must be >= 0, as all indices are.
 */
export function floorDiv(p: Poly, by: Poly | number): Poly {
  const den = Poly.of(by);
  const c = den.constant;
  if (c === undefined || c <= 0) {
    const exact = p.over(den);
    if (exact) return exact;
    const whole: Term[] = [];
    const rest: Term[] = [];
    for (const t of p.terms.values()) {
      const q = Poly.from([t]).over(den);
      if (q) whole.push(...q.terms.values());
      else rest.push(t);
    }
    const r = Poly.from(rest);
    if (below(r, den)) return Poly.from(whole);
    const atom: Atom = { key: `(${r} div ${den})`, kind: 'div', num: r, den };
    return Poly.from([...whole, { n: 1, d: 1, atoms: [atom] }]);
  }
  if (c === 1) return p;
  // Terms with a whole multiple of c leave the division at once.
  const whole: Term[] = [];
  const rest: Term[] = [];
  for (const t of p.terms.values()) {
    const n = t.d === 1 ? Math.floor(t.n / c) * c : t.n % (t.d * c) === 0 ? t.n : 0;
    if (n !== 0) whole.push({ n: n / c, d: t.d, atoms: t.atoms });
    if (t.n !== n) rest.push({ ...t, n: t.n - n });
  }
  const quotient = Poly.from(whole);
  const r = Poly.from(rest);
  const [lo, hi] = r.bounds();
  if (lo >= 0 && hi < c) return quotient;
  // g*A + s over g*c', with 0 <= s < g, is A over c'.
  const big = [...r.terms.values()].filter((t) => t.d === 1 && t.atoms.length > 0);
  for (const g of new Set(
    big
      .map((t) => gcd(t.n, c))
      .filter((x) => x > 1)
      .sort((a, b) => b - a),
  )) {
    const outer = Poly.from([...r.terms.values()].filter((t) => t.d === 1 && t.n % g === 0));
    const inner = r.sub(outer);
    const [ilo, ihi] = inner.bounds();
    if (outer.terms.size > 0 && ilo >= 0 && ihi < g)
      return quotient.add(g === c ? outer.over(g)! : divAtom(outer.over(g)!, c / g));
  }
  return quotient.add(divAtom(r, c));
}

function divAtom(num: Poly, den: number): Poly {
  const k = num.constant;
  if (k !== undefined) return Poly.of(Math.floor(k / den));
  return Poly.atom({ key: `(${num} div ${den})`, kind: 'div', num, den: Poly.of(den) });
}

export const modulo = (p: Poly, c: Poly | number): Poly => p.sub(floorDiv(p, c).mul(c));

/** Whether 0 <= p < limit is provable for loop variables (plus lanes) with those very extents. */
function below(p: Poly, limit: Poly): boolean {
  const top = largest(p);
  return top !== undefined && limit.sub(1).sub(top).bounds()[0] >= 0;
}

/** Something that such a value is at most. */
function largest(p: Poly): Poly | undefined {
  let top = Poly.of(0);
  for (const t of p.terms.values()) {
    if (t.n < 0 || t.d !== 1) return undefined;
    if (t.atoms.length === 0) {
      top = top.add(t.n);
      continue;
    }
    const [atom, ...others] = t.atoms as [Atom, ...Atom[]];
    if (others.length || !atom.extent) return undefined;
    // c * floor(x / d) is at most c * x / d.
    const grows = [...atom.extent.terms.values()].every((e) => e.n >= 0);
    const most = atom.extent.mul(t.n).substitute((a) => {
      const d = a.kind === 'div' && grows ? a.den!.constant : undefined;
      return d && d > 0 && t.n % d === 0 ? a.num!.over(d) : undefined;
    });
    top = top.add(most).sub(t.n);
  }
  return top;
}

export const provablyBelow = below;

function print(p: Poly): string {
  if (p.terms.size === 0) return '0';
  const parts = [...p.terms.entries()].sort(([a], [b]) =>
    a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1,
  );
  let out = '';
  for (const [key, t] of parts) {
    const n = Math.abs(t.n);
    const body = key === '' ? `${n}` : n === 1 ? key : `${n}*${key}`;
    const text = t.d === 1 ? body : `${body} / ${t.d}`;
    if (out === '') out = t.n < 0 ? `-${text}` : text;
    else out += t.n < 0 ? ` - ${text}` : ` + ${text}`;
  }
  return out;
}

export type Dim = Poly;
export const dim = Poly.dim;
export const product = (dims: readonly Dim[]): Dim => dims.reduce((p, d) => p.mul(d), Poly.of(1));
export const sameDims = (a: readonly Dim[], b: readonly Dim[]): boolean =>
  a.length === b.length && a.every((d, i) => d.equals(b[i]!));
export const shapeText = (dims: readonly Dim[]): string => `[${dims.join(', ')}]`;
export { gcd, lcm };
