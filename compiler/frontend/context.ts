// The state of one staging run, shared by all parts of the front end: the IR builder, collected diagnostics,
// derived constraints, step and depth budgets, and conversions between static values and tensors.
import type ts from 'typescript';
import {
  CompileError,
  type Diagnostic,
  diagnostic,
  fail,
  noSpan,
  RuleError,
  type Span,
} from '../diagnostics/diagnostic.ts';
import { type Dim, Poly } from '../ir/algebra.ts';
import { type DType, scalarOf } from '../ir/dtype.ts';
import type { Constraint, Value } from '../ir/ir.ts';
import { BoundedBuilder, Budget } from './budget.ts';
import { Poisoned, Retrace } from './env.ts';
import type { OpenRegion } from './regions.ts';
import { describeVal, is, type Val } from './values.ts';

const maxDiagnostics = 20;

export class Context {
  readonly budget = new Budget();
  readonly builder = new BoundedBuilder(this.budget);
  readonly diagnostics: Diagnostic[] = [];
  readonly constraints: Constraint[] = [];
  /** Run-time regions (bodies of loops, branches and maps) that are being traced, outermost first. */
  readonly regions: OpenRegion[] = [];
  /** Statements that failed so far, whether or not they added a diagnostic. */
  failures = 0;
  span: Span = noSpan;

  get regionDepth(): number {
    return this.regions.length;
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
      throw this.#diagnosed(e);
    } finally {
      this.span = before;
      this.builder.span = builderBefore;
    }
  }

  /** What was thrown, as a diagnostic of the current place. */
  #diagnosed(e: unknown): unknown {
    if (e instanceof CompileError || e instanceof Poisoned || e instanceof Retrace) return e;
    const { span } = this;
    if (e instanceof RuleError) return new CompileError([diagnostic(e.code, span, e.facts)]);
    if (e instanceof RangeError && /call stack/i.test(e.message)) {
      const hint = 'Split the expression, or end the recursion earlier.';
      return new CompileError([diagnostic('Q1006', span, { limit: 'the nesting depth', hint })]);
    }
    return new CompileError([diagnostic('Q9001', span, { detail: String(e) })], undefined, e);
  }

  /**
   * Records the diagnostics of a failed statement so that the rest can still be checked. What cannot be
   * continued, an exhausted budget or too many problems, is thrown on.
   */
  record(e: unknown): void {
    this.failures += 1;
    if (e instanceof Poisoned) return;
    if (!(e instanceof CompileError)) throw e;
    for (const d of e.diagnostics) {
      const twin = this.diagnostics.some(
        (o) => o.code === d.code && o.span.file === d.span.file && o.span.start === d.span.start,
      );
      if (!twin) this.diagnostics.push(d);
    }
    const isExhausted = this.diagnostics.some((d) => d.code === 'Q1006');
    if (isExhausted || this.diagnostics.length >= maxDiagnostics) throw this.collected();
  }

  /** Everything that went wrong so far, in the order of the source. */
  collected(): CompileError {
    const byPlace = (a: Diagnostic, b: Diagnostic): number =>
      a.span.file === b.span.file
        ? a.span.start - b.span.start
        : a.span.file < b.span.file
          ? -1
          : 1;
    return new CompileError([...this.diagnostics].sort(byPlace));
  }

  /**
   * Stages the parts of an expression, all of them even if one fails, so that each part's problems are told in
   * one run. A spent budget ends it at once: more parts would only spend more.
   */
  parts<T>(jobs: readonly (() => T)[]): T[] {
    let failed = false;
    const out = jobs.map((job) => {
      try {
        return job();
      } catch (e) {
        if (e instanceof CompileError && e.diagnostics.some((d) => d.code === 'Q1006')) throw e;
        this.record(e);
        failed = true;
        return undefined as T;
      }
    });
    if (failed) throw new Poisoned('part');
    return out;
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
      const dtype = literalType(v, like);
      return this.builder.const(dtype === 'f32' ? Math.fround(v) : v, dtype);
    }
    if (is(v, 'encoded'))
      return fail('Q1012', {
        callee: 'a tensor operation',
        found: describeVal(v),
        expected: 'a tensor or a number',
        hint: 'decode(w) gives its values.',
      });
    return fail('Q1012', {
      callee: 'a tensor operation',
      found: describeVal(v),
      expected: 'a tensor or a number',
    });
  }

  /** Two operands, bare numbers following the dtype of the other one. */
  pair(a: Val, b: Val): [Value, Value] {
    const bare = (v: Val): boolean => typeof v === 'number';
    if (bare(a) && !bare(b)) {
      const y = this.tensor(b);
      return [this.tensor(a, y.type.dtype === 'bool' ? 'i32' : y.type.dtype), y];
    }
    const x = this.tensor(a);
    return [
      x,
      bare(b) ? this.tensor(b, x.type.dtype === 'bool' ? 'i32' : x.type.dtype) : this.tensor(b),
    ];
  }

  staticNumber(v: Val, what: string): number {
    if (typeof v === 'number') return v;
    return fail('Q1008', { what, found: describeVal(v), expected: 'a number' });
  }

  dimOf(v: Val, what: string): Dim {
    if (typeof v === 'number' && Number.isSafeInteger(v)) return Poly.of(v);
    if (is(v, 'dim')) return v.dim;
    return fail('Q1008', { what, found: describeVal(v), expected: 'an integer or a dim' });
  }
}

/** The scalar type of a bare number: that of the other operand where it fits, else i32 or f32 by its value. */
function literalType(v: number, like: DType | undefined): 'i32' | 'u32' | 'f32' {
  const isInt = Number.isInteger(v) && !Object.is(v, -0) && v >= -(2 ** 31) && v < 2 ** 32;
  const scalar = like ? scalarOf(like) : 'i32';
  if (!isInt || scalar === 'f32') return 'f32';
  if (v >= 2 ** 31) return 'u32';
  return scalar === 'u32' && v >= 0 ? 'u32' : 'i32';
}
