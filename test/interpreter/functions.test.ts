// Whole functions: regions, symbolic dims and what is refused; formats of the real kind; and the
// time it takes.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { solveDims } from '../../compiler/interpreter/solve-dims.ts';
import { parseFunc } from '../../compiler/ir/parser.ts';
import { t, text, values } from './run.ts';

const test = suite('interpreted functions');

test('a map runs its body at every index and stacks what it yields', () => {
  const [sums, pairs] = text(
    `func f<N>
      param x = %x : i32[N]
    {
      %s : i32[N, 3], %p : i32[N, 3, 2] = map {dims: [N, 3]} (%i : i32, %j : i32) {
        %e : i32 = at(%x, %i)
        %m : i32 = mul(%e, %j)
        %a : i32[1] = reshape(%i)
        %b : i32[1] = reshape(%j)
        %ab : i32[2] = concat(%a, %b) {axis: 0}
        yield %m, %ab
      }
      return s = %s
      return p = %p
    }`,
    [t('i32', [5, 7])],
  );
  assert.equal(
    [sums!.shape, values(sums!)],
    [
      [2, 3],
      [0, 5, 10, 0, 7, 14],
    ],
  );
  assert.equal(pairs!.shape, [2, 3, 2]);
  assert.equal(values(pairs!), [0, 0, 0, 1, 0, 2, 1, 0, 1, 1, 1, 2]);
});

test('a map over nothing gives an empty tensor', () => {
  const [y] = text(
    'func f<N> param x = %x : f32[N, 4] { %y : f32[N, 4] = map {dims: [N]} (%i : i32) { %r : f32[4] = at(%x, %i) yield %r } return y = %y }',
    [t('f32', [], [0, 4])],
  );
  assert.equal([y!.shape, y!.data.length], [[0, 4], 0]);
});

const fibonacci = (loop: string, operands: string): string => `func f param n = %n : i32 {
  %zero : i32 = const {value: 0}
  %one : i32 = const {value: 1}
  %a : i32, %b : i32 = for(${operands}) ${loop} (%i : i32, %p : i32, %q : i32) {
    %s : i32 = add(%p, %q)
    yield %q, %s
  }
  return a = %a
}`;

test('a for carries its values, over a fixed extent or a computed one', () => {
  const n = t('i32', [10], []);
  assert.equal(values(text(fibonacci('{extent: 7}', '%zero, %one'), [n])[0]!), [13]);
  assert.equal(values(text(fibonacci('', '%n, %zero, %one'), [n])[0]!), [55]);
  assert.equal(values(text(fibonacci('', '%n, %zero, %one'), [t('i32', [-3], [])])[0]!), [0]);
});

const collatz = `func f param n = %n : i32 {
  %zero : i32 = const {value: 0}
  %one : i32 = const {value: 1}
  %two : i32 = const {value: 2}
  %three : i32 = const {value: 3}
  %last : i32, %steps : i32 = while(%n, %zero) (%a : i32, %s : i32) {
    %go : bool = ne(%a, %one)
    yield %go
  } (%c : i32, %t : i32) {
    %r : i32 = rem(%c, %two)
    %odd : bool = eq(%r, %one)
    %next : i32 = if(%odd) {
      %x : i32 = mul(%c, %three)
      %y : i32 = add(%x, %one)
      yield %y
    } {
      %h : i32 = shr(%c, %one)
      yield %h
    }
    %u : i32 = add(%t, %one)
    yield %next, %u
  }
  return steps = %steps
}`;

test('a while goes on as long as its condition holds; an if takes one branch', () => {
  assert.equal(values(text(collatz, [t('i32', [27], [])])[0]!), [111]);
});

test('a while that does not end is stopped', () => {
  const zero = t('i32', [0], []);
  assert.throws(() => text(collatz, [zero], { maxSteps: 1000 }), /more than 1000 steps/);
  assert.not.throws(() => text(collatz, [t('i32', [27], [])], { maxSteps: 111 }));
});

test('a kernel is its body, a dim its value', () => {
  const [y] = text(
    `func f<K> param x = %x : f32[K / 32, 32] {
      %y : f32 = kernel {name: "k", schedule: "s"} {
        %s : f32 = sum(%x) {axes: [0, 1]}
        %k : i32 = dim {dim: K}
        %m : f32 = div(%s, %k)
        yield %m
      }
      return y = %y
    }`,
    [
      t(
        'f32',
        Array.from({ length: 64 }, (_, i) => i),
        [2, 32],
      ),
    ],
  );
  assert.equal(values(y!), [31.5]);
});

const q4 = `func q4<B>
  param x = %x : f32[B, 32]
{
  %d : f16[B], %q : u4[B, 32] = map {dims: [B]} (%i : i32) {
    %b : f32[32] = at(%x, %i)
    %a : f32[32] = abs(%b)
    %k : i32 = argmax(%a) {axes: [0]}
    %m : f32 = at(%b, %k)
    %c : f32 = const {value: -8}
    %s : f32 = div(%m, %c)
    %zero : f32 = const {value: 0}
    %one : f32 = const {value: 1}
    %e : bool = eq(%s, %zero)
    %r : f32 = div(%one, %s)
    %inverse : f32 = select(%e, %zero, %r)
    %p : f32[32] = mul(%b, %inverse)
    %h : f32 = const {value: 8.5}
    %u : f32[32] = add(%p, %h)
    %f : f32[32] = floor(%u)
    %g : f32[32] = max(%f, %zero)
    %top : f32 = const {value: 15}
    %v : f32[32] = min(%g, %top)
    %w : u4[32] = cast(%v)
    %t : f16 = cast(%s)
    yield %t, %w
  }
  return w = encoded "q4_0" [32*B] {d = %d, q = %q}
}`;
const wave = (n: number): number[] =>
  Array.from({ length: n }, (_, i) => Math.fround(Math.sin(i) * 3));

test('a block format encodes as its formula says', () => {
  const x = wave(64);
  const [d, q] = text(q4, [t('f32', x, [2, 32])]);
  for (let block = 0; block < 2; block++) {
    const part = x.slice(block * 32, block * 32 + 32);
    const peak = part.reduce((best, v) => (Math.abs(v) > Math.abs(best) ? v : best));
    const step = Math.fround(peak / -8);
    assert.ok(Math.abs(d!.data[block]! - step) <= Math.abs(step) * 2 ** -11);
    part.forEach((v, i) => {
      const scaled = Math.fround(v * Math.fround(1 / step));
      const code = Math.min(15, Math.max(0, Math.floor(Math.fround(scaled + 8.5))));
      assert.is(q!.data[block * 32 + i], code);
    });
  }
});

const signature = (
  dims: string,
  shapes: readonly string[],
  more = '',
): ReturnType<typeof parseFunc> =>
  parseFunc(
    `func f<${dims}> ${more} ${shapes.map((s, i) => `param x${i} = %x${i} : f32[${s}]`).join(' ')} { return y = %x0 }`,
  );
const solve = (dims: string, shapes: readonly string[], found: readonly number[][], more = '') =>
  Object.fromEntries(solveDims(signature(dims, shapes, more), found));

test('dims are solved from the shapes of the arguments', () => {
  assert.equal(solve('N, K', ['N, K / 32, 32'], [[8, 2, 32]]), { N: 8, K: 64 });
  assert.equal(solve('N, K', ['N*K', 'N + 1'], [[12], [4]]), { N: 3, K: 4 });
  assert.equal(solve('N', ['2*N - 1', '(N + 3 div 4)'], [[9], [2]]), { N: 5 });
  assert.equal(solve('N', ['N'], [[0]]), { N: 0 });
});

const refused = (fragment: string, ...args: Parameters<typeof solve>): void =>
  assert.throws(
    () => solve(...args),
    (e: Error) => e.message.includes(fragment) || (assert.unreachable(e.message) as never),
  );

test('shapes that do not fit are refused by the name of the parameter', () => {
  refused('axis 1 of x1 has extent 5, but K is 4 for K = 4', 'K', ['K', '2, K'], [[4], [2, 5]]);
  refused('axis 0 of x0 has extent 4, and no whole K makes 2*K + 1 so', 'K', ['2*K + 1'], [[4]]);
  refused('x0 has shape [2, 2], but [K] was declared', 'K', ['K'], [[2, 2]]);
  refused('f: the shapes of the arguments do not determine N, K', 'N, K', ['N*K'], [[12]]);
  refused('f takes 1 tensors, not 2', 'K', ['K'], [[1], [2]]);
  refused('axis 0 of x0 has extent 3, but 4 is 4', 'K', ['4', 'K'], [[3], [1]]);
});

test('constraints are checked', () => {
  refused(
    'K for K = 33 is not a multiple of 32: blocks of 32',
    'K',
    ['K'],
    [[33]],
    'require K % 32 == 0 "blocks of 32"',
  );
  assert.equal(solve('K', ['K'], [[64]], 'require K % 32 == 0 "blocks of 32"'), { K: 64 });
});

test('fields of an encoded parameter are named, and dtypes and lengths are checked', () => {
  const source =
    'func f<K> param w = encoded "q" [K] {d = %d : f16[K / 32], q = %q : u4[K / 32, 32]} { return d = %d }';
  assert.throws(
    () => text(source, [t('f16', [1]), t('u4', [1, 2], [2, 1])]),
    /axis 0 of w\.q has extent 2, but K \/ 32 is 1/,
  );
  const codes = t('u4', new Array(32).fill(1), [1, 32]);
  assert.throws(() => text(source, [t('f32', [1]), codes]), /d is f32, but f16 was declared/);
  assert.throws(
    () => text(source, [t('f16', [1]), { ...codes, data: codes.data.slice(1) }]),
    /q has 31 values/,
  );
});

test.run();
