// The state of one staging run, shared by all parts of the front end: the IR builder, collected diagnostics,
// derived constraints, step and depth budgets, and conversions between static values and tensors.
import type ts from 'typescript';
import {
  CompileError, type Diagnostic, RuleError, type Span, diagnostic, fail, noSpan,
} from '../diagnostics/diagnostic.ts';
import { type Dim, Poly } from '../ir/algebra.ts';
import { type DType, scalarOf } from '../ir/dtype.ts';
import { Builder } from '../ir/builder.ts';
import type { Constraint, Value } from '../ir/ir.ts';
import { type Binding, Poisoned } from './env.ts';
import { type Val, describeVal, is } from './values.ts';

/** Budgets that keep staging of untrusted files bounded. */
const maxSteps = 2_000_000;
const maxDepth = 160;
const maxArray = 1_000_000;
const maxDiagnostics = 20;

export class Context {
  readonly builder = new Builder();
  readonly diagnostics: Diagnostic[] = [];
  readonly constraints: Constraint[] = [];
  /** How many run-time regions (loops, branches, maps) are open. */
  regionDepth = 0;
  /** One journal an open region: outer variables assigned inside, with the value they had before. */
  readonly journals: Map<Binding, Val>[] = [];
  span: Span = noSpan;
  #steps = 0;
  #calls = 0;

  step(): void {
    this.#steps += 1;
    if (this.#steps > maxSteps)
      fail('Q1006', {
        limit: `${maxSteps} steps`,
        hint: 'A static loop or recursion does not end, or unrolls too far; use `for (const i of range(n))` for a run-time loop.',
      });
  }

  call<T>(body: () => T): T {
    this.#calls += 1;
    try {
      if (this.#calls > maxDepth)
        fail('Q1006', { limit: `${maxDepth} nested calls`, hint: 'Recursion must end on static values.' });
      return body();
    } finally {
      this.#calls -= 1;
    }
  }

  checkLength(n: number): void {
    if (n > maxArray)
      fail('Q1006', { limit: `${maxArray} array elements`, hint: 'Use iota() or zeros() for large tensors.' });
  }

  /** Runs `body` with the span of `node`; a rule's error gets that place. */
  at<T>(node: ts.Node, file: string, body: () => T): T {
    const before = this.span;
    const builderBefore = this.builder.span;
    this.span = { file, start: node.getStart(), end: node.getEnd() };
    this.builder.span = this.span;
    try {
      return body();
    } catch (e) {
      if (e instanceof RuleError) throw new CompileError([diagnostic(e.code, this.span, e.facts)]);
      if (e instanceof RangeError && /call stack/i.test(e.message))
        throw new CompileError([
          diagnostic('Q1006', this.span, { limit: 'the nesting depth', hint: 'Simplify the expression.' }),
        ]);
      throw e;
    } finally {
      this.span = before;
      this.builder.span = builderBefore;
    }
  }

  /** Records the diagnostics of a failed statement so that the rest can still be checked. */
  record(e: unknown): void {
    if (e instanceof Poisoned) return;
    if (!(e instanceof CompileError)) throw e;
    for (const d of e.diagnostics) {
      const twin = this.diagnostics.some(
        (o) => o.code === d.code && o.span.file === d.span.file && o.span.start === d.span.start,
      );
      if (!twin) this.diagnostics.push(d);
    }
    if (this.diagnostics.length >= maxDiagnostics) throw new CompileError(this.diagnostics);
  }

  constrain(poly: Dim, modulus: number, reason: string): void {
    const c = poly.constant;
    if (c !== undefined && c % modulus === 0) return;
    if (this.constraints.some((o) => o.modulus === modulus && o.poly.equals(poly))) return;
    this.constraints.push({ poly, modulus, reason });
  }

  /** A static value or tensor as a tensor; a bare number takes the scalar type of `like` where it fits. */
  tensor(v: Val, like?: DType): Value {
    if (is(v, 'tensor')) return v.value;
    if (is(v, 'dim')) return this.builder.dim(v.dim);
    if (typeof v === 'boolean') return this.builder.const(v ? 1 : 0, 'bool');
    if (typeof v === 'number') {
      const isInt = Number.isInteger(v) && !Object.is(v, -0) && Math.abs(v) <= 2 ** 32;
      const scalar = like ? scalarOf(like) : isInt ? 'i32' : 'f32';
      const dtype = isInt && scalar === 'u32' && v >= 0 ? 'u32' : isInt && scalar !== 'f32' && v < 2 ** 31 && v >= -(2 ** 31) ? 'i32' : isInt && scalar === 'i32' && v >= 2 ** 31 ? 'u32' : 'f32';
      return this.builder.const(dtype === 'f32' ? Math.fround(v) : v, dtype);
    }
    if (is(v, 'encoded'))
      return fail('Q1012', {
        callee: 'a tensor operation', found: describeVal(v), expected: 'decode(w) for its values',
      });
    return fail('Q1012', { callee: 'a tensor operation', found: describeVal(v), expected: 'a tensor or a number' });
  }

  /** Two operands, bare numbers following the dtype of the other one. */
  pair(a: Val, b: Val): [Value, Value] {
    const bare = (v: Val): boolean => typeof v === 'number';
    if (bare(a) && !bare(b)) {
      const y = this.tensor(b);
      return [this.tensor(a, y.type.dtype === 'bool' ? 'i32' : y.type.dtype), y];
    }
    const x = this.tensor(a);
    return [x, bare(b) ? this.tensor(b, x.type.dtype === 'bool' ? 'i32' : x.type.dtype) : this.tensor(b)];
  }

  staticNumber(v: Val, what: string): number {
    if (typeof v === 'number') return v;
    return fail('Q1008', { what, found: describeVal(v), expected: 'a number' });
  }

  dimOf(v: Val, what: string): Dim {
    if (typeof v === 'number' && Number.isInteger(v)) return Poly.of(v);
    if (is(v, 'dim')) return v.dim;
    return fail('Q1008', { what, found: describeVal(v), expected: 'an integer or a dim' });
  }
}
