// What the verifier accepts is shown by the other tests; here is what it finds, each fault made by
// hand.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { noSpan } from '../../compiler/diagnostics/diagnostic.ts';
import { Poly, dim } from '../../compiler/ir/algebra.ts';
import { Builder } from '../../compiler/ir/builder.ts';
import type { DType } from '../../compiler/ir/dtype.ts';
import type { Func, Op, Region, TensorType, Value } from '../../compiler/ir/ir.ts';
import { verify, verifyOrThrow } from '../../compiler/ir/verifier.ts';

const test = suite('verifier');
const N = dim('N');
const type = (dtype: DType, ...shape: Poly[]): TensorType => ({ dtype, shape });

function func(body: Region, dims: readonly string[] = ['N']): Func {
  return {
    name: 'f',
    dims,
    constraints: [],
    params: body.params.map((v, i) => ({ kind: 'tensor', name: `p${i}`, values: [v] })),
    results: body.yields.map((v, i) => ({ kind: 'tensor', name: `r${i}`, values: [v] })),
    body,
  };
}

/** A function of x : f32[N], n : i32 and c : bool with the body that `make` builds. */
function make(body: (b: Builder, x: Value, n: Value, c: Value) => readonly Value[]): Func {
  const b = new Builder();
  const params = [b.param(type('f32', N), 'x'), b.scalar('i32', 'n'), b.scalar('bool', 'c')];
  return func(b.region(params, () => body(b, params[0]!, params[1]!, params[2]!)));
}

/** An op as no type rule would make it. */
function raw(
  part: Pick<Op, 'name' | 'operands' | 'attrs'> & { regions?: Region[] },
  results: Value[],
): Op {
  const op: Op = { regions: [], span: noSpan, results, ...part };
  results.forEach((v, index) => {
    v.def = { op, index };
  });
  return op;
}

const finds = (f: Func, ...messages: string[]): void => {
  const found = verify(f).map((p) => p.message);
  assert.is(found.length, messages.length, found.join('\n') || 'nothing was found');
  messages.forEach((m, i) => {
    assert.ok(found[i]!.includes(m), `${found[i]} does not say: ${m}`);
  });
};

test('a well-formed function has no problems', () => {
  finds(make((b, x) => [b.one('exp', [x], {})]));
});

test('a value is used before it is defined', () => {
  const f = make((b, x) => [b.one('neg', [b.one('exp', [x], {})], {})]);
  finds(func({ ...f.body, ops: f.body.ops.toReversed() }), 'is used before it is defined');
});

test('a value of a region is not visible outside', () => {
  let inner!: Value;
  finds(
    make((b, x, _n, c) => {
      const yes = b.region([], () => {
        inner = b.one('exp', [x], {});
        return [inner];
      });
      b.op('if', [c], {}, [yes, b.region([], () => [x])]);
      return [b.one('neg', [inner], {})];
    }),
    'is not visible here',
  );
});

test('a value is defined twice, an id belongs to two values', () => {
  const f = make((b, x) => [b.one('exp', [x], {})]);
  const [op] = f.body.ops;
  finds(func({ ...f.body, ops: [op!, op!] }), 'is defined twice');
  const twin: Value = { id: 0, type: type('f32', N) };
  finds(func({ params: [f.body.params[0]!, twin], ops: [], yields: [] }), 'belongs to two values');
});

test('a value that does not know its op is found', () => {
  const f = make((b, x) => [b.one('exp', [x], {})]);
  delete f.body.yields[0]!.def;
  finds(f, 'does not know the op that defines it');
});

test('a type is not what the type rule gives, and the op is shown', () => {
  const b = new Builder();
  const x = b.param(type('f32', N), 'x');
  const wrong = b.param(type('f32', N.mul(2)), 'y');
  const op = raw({ name: 'exp', operands: [x], attrs: {} }, [wrong]);
  finds(
    func({ params: [x], ops: [op], yields: [wrong] }),
    'the type rule of exp gives (f32[N]), not (f32[2*N])\n  %y : f32[2*N] = exp(%x)',
  );
});

test('operands that a type rule refuses are reported in its words', () => {
  const b = new Builder();
  const x = b.param(type('f32', N), 'x');
  const y = b.param(type('bool', N), 'y');
  const op = raw({ name: 'any', operands: [x], attrs: { axes: [0], keepdims: false } }, [y]);
  finds(func({ params: [x], ops: [op], yields: [y] }), 'any does not take this dtype');
});

test('operands and regions are counted', () => {
  const b = new Builder();
  const x = b.param(type('f32', N), 'x');
  const [y, z] = [b.param(type('f32', N)), b.param(type('f32', N))];
  const first = raw({ name: 'add', operands: [x], attrs: {} }, [y]);
  const second = raw({ name: 'kernel', operands: [], attrs: { name: 'k', schedule: 's' } }, [z]);
  finds(
    func({ params: [x], ops: [first, second], yields: [y, z] }),
    'add does not take 1 operands',
    'kernel has 1 regions, not 0',
  );
});

test('a map takes one i32 index a dim', () => {
  finds(
    make((b, x) => {
      const i = b.scalar('f32');
      return b.op('map', [], { dims: [N] }, [b.region([i], () => [x])]);
    }),
    'map: the parameters of the region (f32) are not (i32)',
  );
});

test('a for carries the same types all the way', () => {
  finds(
    make((b, x, n) => {
      const [i, s] = [b.scalar('i32'), b.param(type('f32', N))];
      return b.op('for', [x], { extent: N }, [b.region([i, s], () => [n])]);
    }),
    'for: the yielded values (i32) are not (f32[N])',
  );
  finds(
    make((b, x) => {
      const i = b.scalar('i32');
      return b.op('for', [x], {}, [b.region([i], () => [])]);
    }),
    'for: the trip count is not an integer scalar',
  );
});

test('a while has a bool condition and carries the same types', () => {
  finds(
    make((b, x, n) => {
      const [p, q] = [b.scalar('i32'), b.scalar('i32')];
      return b.op('while', [n], {}, [b.region([p], () => [p]), b.region([q], () => [x])]);
    }),
    'while: the values that the body yields (f32[N]) are not (i32)',
    'while: the condition is not a bool scalar',
  );
});

test('an if has a bool condition and branches of one type', () => {
  finds(
    make((b, x, n) => b.op('if', [n], {}, [b.region([], () => [x]), b.region([], () => [n])])),
    'if: the condition is not a bool scalar',
    'if: the values of the second branch (i32) are not (f32[N])',
  );
});

test('a table has as many values as elements, a pad a scalar fill', () => {
  finds(
    make((b, x) => [
      b.one('table', [], { data: [1, 2, 3], dtype: 'f32', shape: [Poly.of(4)] }),
      b.one('pad', [x, x], { axis: 0, low: Poly.of(1), high: Poly.of(0) }),
    ]),
    'table: 3 values do not fill 4 elements',
    'pad: the fill is not a scalar',
  );
});

test('the signature fits the body, and its dims are declared', () => {
  const f = make((b, x) => [b.one('exp', [x], {})]);
  finds(
    { ...f, params: f.params.slice(1) },
    'the parameters of the body are not those of the signature',
  );
  finds({ ...f, results: [] }, 'the values that the body yields are not those of the signature');
  finds({ ...f, dims: [] }, '%x has the unknown dim N', 'has the unknown dim N');
  finds({ ...f, constraints: [{ poly: dim('K'), modulus: 2, reason: 'r' }] }, 'the unknown dim K');
});

test('verifyOrThrow says after which pass', () => {
  const f = make((b, x) => [b.one('exp', [x], {})]);
  assert.throws(
    () => verifyOrThrow({ ...f, results: [] }, 'after dce'),
    /f is not well formed after dce/,
  );
});

test.run();
