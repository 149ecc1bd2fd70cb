// Tensors and dims in kernels: literals beside tensors, arithmetic on dims, constraints, and parameters.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { body, codesOf, kernel, manifest, problems, run, scalar, t, values } from './stage.ts';

const test = suite('tensors and dims');
const over = (params: string, code: string, dims = 'M extends Dim, K extends Dim'): string =>
  `import { at, broadcastTo, concat, dim, f16, f32, full, group, i32, iota, matmul, map, mean, pad, range, reshape, shape, slice, sum, transpose, u32, u8, zeros } from 'quern';
export function f<${dims}>(${params}) { ${code} }`;

test('bare numbers follow the tensor beside them', async () => {
  const dtype = async (code: string) =>
    (await run(kernel(`return ${code};`), [t([1, 2, 3, 4])])).results[0]!;
  assert.is((await dtype('i32(x) + 1')).dtype, 'i32');
  assert.is((await dtype('u32(x) + 1')).dtype, 'u32');
  assert.is((await dtype('1 - u32(x)')).dtype, 'u32');
  assert.is((await dtype('f16(x) + 1')).dtype, 'f32');
  assert.is((await dtype('u8(x) * 2')).dtype, 'i32');
  assert.is((await dtype('i32(x) * 0.5')).dtype, 'f32');
  assert.is((await dtype('i32(x) / 2')).dtype, 'f32');
  assert.is((await dtype('(x > 1) === true')).dtype, 'bool');
  assert.equal(Array.from((await dtype('u32(x) - 2')).data), [4294967295, 0, 1, 2]);
  assert.equal(Array.from((await dtype('u32(x) + 4294967295')).data), [0, 1, 2, 3]);
  assert.equal(Array.from((await dtype('i32(x) * 0.5')).data), [0.5, 1, 1.5, 2]);
});

test('every operator computes elementwise', async () => {
  const expected: Readonly<Record<string, (v: number) => number>> = {
    'x + 3': (v) => v + 3,
    '3 - x': (v) => 3 - v,
    'x * x': (v) => v * v,
    '6 / x': (v) => Math.fround(6 / v),
    'x % 3': (v) => v % 3,
    'x ** 2': (v) => v ** 2,
    '-x': (v) => -v,
    'i32(x) & 6': (v) => v & 6,
    'i32(x) | 8': (v) => v | 8,
    'i32(x) ^ 5': (v) => v ^ 5,
    '~i32(x)': (v) => ~v,
    'i32(x) << 3': (v) => v << 3,
    'i32(x) >> 1': (v) => v >> 1,
    'i32(-x) >>> 28': (v) => -v >>> 28,
    'i32(x >= 3)': (v) => Number(v >= 3),
    'i32(x !== 3)': (v) => Number(v !== 3),
    'Math.floor(x / 2)': (v) => Math.floor(v / 2),
    'Math.max(x, 2)': (v) => Math.max(v, 2),
    'Math.round(x - 0.5)': (v) => Math.round(v - 0.5),
    'min(x, 3, 2)': (v) => Math.min(v, 3, 2),
    'clamp(x, 2, 3)': (v) => Math.min(Math.max(v, 2), 3),
  };
  for (const [code, f] of Object.entries(expected))
    assert.equal(await body(`return ${code};`), [1, 2, 3, 4].map(f), code);
});

test('compound assignment works on tensors', async () => {
  assert.equal(
    await body('let y = x; y += 1; y *= 2; y -= x; y /= 2; y **= 2; return y;'),
    [1, 2, 3, 4].map((v) => ((v + 2) / 2) ** 2),
  );
  assert.equal(
    await body('let y = i32(x); y <<= 2; y |= 1; y &= 13; y ^= 3; y >>= 1; return y++ + y;'),
    [1, 2, 3, 4].map((v) => 2 * (((((v << 2) | 1) & 13) ^ 3) >> 1) + 1),
  );
});

test('dims compute with dims', async () => {
  const x = t(
    Array.from({ length: 128 }, (_, i) => i),
    [2, 64],
  );
  const last = async (code: string) =>
    values(over('x: Tensor<f32, [M, K]>', `const [M, K] = shape(x); return ${code};`), [x]);
  assert.equal(await last('iota(K / 32)'), [0, 1]);
  assert.equal((await last('iota(2 * M + 1)')).length, 5);
  assert.equal((await last('zeros([K - 1])')).length, 63);
  assert.equal(await last('f32(K * M - 1)'), [127]);
  assert.equal(await last('K / 32 === K / 32 ? f32(1) : f32(2)'), [1]);
  assert.equal(await last('K > 63 ? f32(1) : f32(2)'), [1]);
  assert.equal(await last('iota((K + 8) >> 5)'), [0, 1]);
  assert.equal(await last('zeros([(M + 7) >> 3, K >> 7])'), []);
  assert.equal(await last('sum(sum(x, 1) / K)'), [(127 * 64) / 64]);
  assert.equal(await last('mean(x)'), [63.5]);
});

test('divisions and groups leave constraints in the words of the author', () => {
  const constraints = (code: string): string[] =>
    manifest(over('x: Tensor<f32, [M, K]>', code)).constraints.map(
      (c) => `${c.text} % ${c.modulus}: ${c.reason}`,
    );
  assert.equal(constraints('return iota(dim(x, 1) / 32);'), ['K % 32: the division K / 32']);
  assert.equal(constraints('return group(group(x, 32), 4);'), ['K % 32: group(x, 32)']);
  assert.equal(constraints('return group(x, 8) * group(x, 8);'), ['K % 8: group(x, 8)']);
  assert.equal(constraints('return iota(dim(x, 1) * 2 / 2);'), []);
  assert.equal(constraints('return iota((dim(x, 1) + 7) >> 3);'), []);
  assert.equal(codesOf(over('x: Tensor<f32, [M, 60]>', 'return group(x, 32);')), ['Q2006']);
});

test('shapes of the result are symbolic', () => {
  const text = (code: string): string => {
    const [r] = manifest(over('x: Tensor<f32, [M, K]>', `return ${code};`)).results;
    return r!.kind === 'tensor' ? `${r!.dtype}${r!.text}` : '';
  };
  assert.is(text('transpose(x)'), 'f32[K, M]');
  assert.is(text('matmul(x, transpose(x))'), 'f32[M, M]');
  assert.is(text('reshape(x, [-1])'), 'f32[K*M]');
  assert.is(text('pad(x, 1, 2)'), 'f32[M, K + 3]');
  assert.is(text('concat([x, x], 1)'), 'f32[M, 2*K]');
  assert.is(text('slice(x, 1, -1, 1)'), 'f32[M, K - 2]');
  assert.is(text('zeros([dim(x, 0) >> 3, (dim(x, 1) + 7) >> 3])'), 'f32[(M div 8), (K + 7 div 8)]');
  assert.is(text('x > 0'), 'bool[M, K]');
});

test('parameters: scalars, integers, constants with defaults and overrides', async () => {
  const source = over(
    'x: Tensor<i32, [M]>, s: Scalar, n: Tensor<u8, []>, by: number = 3, options: { add?: number; flip: boolean } = { flip: false }',
    'const y = x * by + (options.add ?? 0) + n; return options.flip ? -y * s : y * s;',
    'M extends Dim',
  );
  const inputs = [t([1, 2], [2], 'i32'), scalar(0.5), scalar(10, 'u8')];
  assert.equal(await values(source, inputs), [6.5, 8]);
  const statics = [undefined, undefined, undefined, 5, { add: 1, flip: true }];
  assert.equal(await values(source, inputs, { statics }), [-8, -10.5]);
  assert.equal(
    manifest(source).params.map((p) => p.name),
    ['x', 's', 'n'],
  );
});

test('dims of annotations: literals, aliases, type parameters of enclosing functions', async () => {
  const source = `import { sum } from 'quern';
type Width = 4; type Row = Tensor<f32, [Width]>;
export function f<M extends Dim>(x: Row, y: Tensor<f32, [m: M]>) { const g = (a: Tensor<f32, [M]>) => sum(a); return x * g(y); }`;
  assert.equal(await values(source, [t([1, 2, 3, 4]), t([2, 3])]), [5, 10, 15, 20]);
  assert.equal(manifest(source).dims, ['M']);
});

test('names that are no dims are refused where they stand', () => {
  for (const [types, dim] of [
    ['M extends Dim', 'K'],
    ['M extends Dim, K', 'K'],
    ['M extends Dim, K extends Format', 'K'],
    ['M extends Dim', 'string'],
  ] as const) {
    const found = codesOf(over(`x: Tensor<f32, [M, ${dim}]>`, 'return x;', types));
    assert.ok(found.length === 1 && /^Q101[58]$/.test(found[0]!), `${types}: ${found}`);
  }
});

test('arguments of inner functions are checked against their types', () => {
  const inner = (call: string): string[] =>
    codesOf(
      over(
        'x: Tensor<f32, [M]>, y: Tensor<f32, [K]>',
        `const dot = <A extends Dim>(a: Tensor<f32, [A]>, b: Tensor<f32, [A]>) => sum(a * b); return ${call};`,
      ),
    );
  assert.equal(inner('dot(x, x) + dot(y, y)'), []);
  assert.equal(inner('dot(x, y)'), ['Q2007']);
  assert.equal(inner('dot(x, sum(y))'), ['Q2007']);
  assert.equal(inner('dot(x)'), ['Q1012']);
  assert.equal(inner('dot(x, x, x)'), ['Q1012']);
});

test('declared results are checked, parts of records and tuples too', () => {
  const declared = (type: string, code: string): string[] =>
    codesOf(`export function f<M extends Dim>(x: Tensor<f32, [M]>): ${type} { return ${code}; }`);
  assert.equal(declared('Tensor<f32, [M]>', 'x * 2'), []);
  assert.equal(declared('Tensor<f16, [M]>', 'x * 2'), ['Q2007']);
  assert.equal(declared('{ a: Tensor<f32, [M]> }', '({ a: x })'), []);
  assert.equal(declared('{ a: Tensor<f32, [4]> }', '({ a: x })'), ['Q2007']);
  assert.equal(declared('{ a: Tensor<f32, [M]>; b: Tensor<f32, [M]> }', '({ a: x })'), ['Q2007']);
  assert.equal(declared('[Tensor<f32, [M]>, Tensor<bool, [M]>]', '[x, x > 0]'), []);
  assert.equal(declared('[Tensor<f32, [M]>]', '[x, x]'), ['Q2007']);
});

test('one cause gives one diagnostic', () => {
  const code =
    'const a = missing + 1; const b = a * 2; let s = 0; for (const i of range(4)) s += b; const g = () => s + a; return g() + b;';
  assert.equal(codesOf(kernel(code)), ['Q1003']);
  const twice = kernel(
    'const g = (v) => { const w = missing; return v + w; }; const a = g(x); const b = g(a); return a + b;',
  );
  assert.equal(problems(twice).length, 1);
});

test('plain JavaScript that would give NaN is refused', () => {
  for (const code of [
    "x * ('a' * 2)",
    'x * (undefined + 1)',
    'x * [1, 2][5]',
    'x * (true + 1)',
    '-"a" * x',
    "x < 'a'",
    'x + null',
  ])
    assert.equal(codesOf(kernel(`return ${code};`)), ['Q1012'], code);
});

test.run();
