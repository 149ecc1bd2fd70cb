// Values known at compile time: each kernel scales its input by a constant that the front end computes.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { body, kernel, t, values } from './stage.ts';

const test = suite('compile-time values');
const input = [1, 2, 3, 4];

/** Each piece of code defines `c`; the kernel gives x * c. */
const constants: Readonly<Record<string, readonly [code: string, c: number]>> = {
  'arrays and their length': ['const a = [1, 2, 3]; const c = a[1] + a.length', 5],
  'objects, shorthand and computed keys': [
    "const d = 2; const o = { d, ['e' + 1]: 3, 'f g': 4 }; const c = o.d + o.e1 + o['f g']",
    9,
  ],
  'methods of objects': ['const o = { twice(v) { return v * 2; } }; const c = o.twice(4)', 8],
  'nested destructuring': ['const { a: { b: [, p] } } = { a: { b: [1, 7] } }; const c = p', 7],
  'defaults of destructuring': [
    'const { a = 3, b = 1 } = { b: 5 }; const [q = 2] = []; const c = a + b + q',
    10,
  ],
  'rest of a record': [
    'const { a, ...r } = { a: 1, b: 2, d: 3 }; const c = r.b + r.d + Object.keys(r).length',
    7,
  ],
  'rest of a list': ['const [a, ...r] = [1, 2, 3]; const c = r[0] * r.length + a', 5],
  'assignment to a list': ['let a = 1; let b = 2; [a, b] = [b, a]; const c = a * 10 + b', 21],
  'spread of arrays': ['const a = [1, 2]; const c = [...a, ...a, 3].length', 5],
  'spread of records': [
    'const a = { p: 1, q: 2 }; const c = { ...a, q: 5 }.q + { q: 5, ...a }.q',
    7,
  ],
  'spread of arguments': ['const add = (a, b, d) => a + b * d; const c = add(...[1, 2], 3)', 7],
  'rest parameters': ['const n = (...v) => v.length + v[1]; const c = n(5, 6, 7)', 9],
  closures: ['const make = (n) => (v) => v + n; const c = make(3)(4)', 7],
  'closures over a variable that changes': [
    'let n = 1; const get = () => n; n = 6; const c = get()',
    6,
  ],
  'parameters with defaults': ['const g = (a, b = a * 2) => a + b; const c = g(1) + g(1, 1)', 5],
  'options with defaults': [
    'const g = ({ bits = 4, zero = false } = {}) => (zero ? 1 : bits); const c = g() + g({ bits: 2 }) + g({ zero: true })',
    7,
  ],
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the source of a kernel
  'template strings': ['const n = `a${1 + 1}b`; const c = n.length + (n === "a2b" ? 1 : 0)', 4],
  'text as a key': [
    "const table = { int4: 4, int8: 8 }; const kind = 'int' + 8; const c = table[kind]",
    8,
  ],
  recursion: [
    'function fib(n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); } const c = fib(7)',
    13,
  ],
  'functions used before their declaration': ['const c = g(2); function g(n) { return n * 3; }', 6],
  'a named function expression': [
    'const g = function self(n) { return n === 0 ? 1 : n * self(n - 1); }; const c = g(4)',
    24,
  ],
  'for (;;)': ['let c = 0; for (let i = 0; i < 5; i++) c += i', 10],
  'for (;;) with break and continue': [
    'let c = 0; for (let i = 0; ; i++) { if (i === 1) continue; if (i > 3) break; c += i; }',
    5,
  ],
  'for of an array with break and continue': [
    'let c = 0; for (const v of [1, 2, 3, 4, 5]) { if (v === 2) continue; if (v === 5) break; c += v; }',
    8,
  ],
  'for of entries': ['let c = 0; for (const [i, v] of [5, 6].entries()) c += i * v', 6],
  'for of the entries of a record': [
    'let c = 0; for (const [k, v] of Object.entries({ a: 1, b: 2 })) c += v * k.length',
    3,
  ],
  'early return': [
    'const g = (n) => { if (n > 2) return 10; for (const v of [1, 2]) if (v === n) return v; return 0; }; const c = g(5) + g(2) + g(0)',
    12,
  ],
  'if and else if': [
    'const g = (n) => { if (n < 1) { return 1; } else if (n < 2) { return 2; } else return 3; }; const c = g(0) * 100 + g(1) * 10 + g(9)',
    123,
  ],
  'a block scope': ['let c = 1; { const c = 5; } if (true) { let c = 6; c = 7; }', 1],
  '?: && || ??': [
    'const u = undefined; const c = (u ?? 4) + (0 || 2) + (1 && 3) + (true ? 1 : 9)',
    10,
  ],
  '&& and || do not evaluate what they skip': ['const c = (false && missing.thing) || 3', 3],
  '?. on records': [
    'const o = { a: { b: 2 } }; const n = undefined; const c = (o?.a?.b ?? 0) + (n?.a.b.c ?? 5) + (o.z ?? 1)',
    8,
  ],
  '?. on calls and elements': [
    'const o = { f: (v) => v }; const n = null; const c = (o.f?.(3) ?? 0) + (n?.(1) ?? 2) + (n?.[0] ?? 1)',
    6,
  ],
  'compound assignment': [
    'let c = 7; c += 3; c -= 1; c *= 4; c /= 2; c %= 10; c **= 2; c <<= 2; c >>= 1; c |= 1; c &= 127; c ^= 2; c >>>= 0',
    3,
  ],
  'logical assignment': [
    'let a; let b = 0; let d = 1; a ??= 5; b ||= 6; d &&= 7; const c = a + b + d',
    18,
  ],
  '++ and --': [
    'let i = 3; const a = i++; const b = ++i; i--; const c = a * 100 + b * 10 + i',
    354,
  ],
  'side effects of a target happen once': [
    'let i = 0; const a = [1, 2, 3]; a[i++] += 10; const c = a[0] + i',
    12,
  ],
  'assignment to elements and properties': [
    'const a = [1, 2]; const o = { p: 1 }; a[0] = 5; a[2] = 1; o.p += a[0]; o.q = 3; const c = o.p + o.q + a.length',
    12,
  ],
  'Array.from': ['const c = Array.from({ length: 5 }, (_, i) => i * i)[4]', 16],
  'methods of arrays': [
    'const a = [3, 1, 2]; const c = a.map((v, i) => v * i).reduce((p, v) => p + v, 0) + a.filter((v) => v > 1).length + a.slice(1)[0] + a.concat([9]).length + [...a].reverse()[0] + a.indexOf(2) + a.at(-1)',
    5 + 2 + 1 + 4 + 2 + 2 + 2,
  ],
  'predicates of arrays': [
    'const a = [1, 2]; const c = (a.some((v) => v > 1) ? 1 : 0) + (a.every((v) => v > 1) ? 2 : 0) + (a.includes(2) ? 4 : 0) + (a.find((v) => v > 1))',
    7,
  ],
  'reduce without a start': ['const c = [2, 3, 4].reduce((p, v) => p * v)', 24],
  'join and text': ["const c = [1, 2].join('-') === '1-2' ? 2 : 0", 2],
  'fill and push': [
    'const a = Array.from({ length: 3 }).fill(2); a.push(5, 6); const c = a.reduce((p, v) => p + v)',
    17,
  ],
  Math: [
    'const c = Math.floor(Math.sqrt(17)) + Math.max(1, 2, 3) + Math.min(4, 5) + Math.abs(-2) + Math.round(2.5) + Math.sign(-3) + Math.trunc(-1.5) + Math.log2(8)',
    17,
  ],
  'constants of Math': ['const c = Math.floor(Math.PI * 100) / 2', 157],
  'hexadecimal, separators and exponents': ['const c = 0x10 + 1_000 + 1e2 + 0b11', 1119],
  'comparison of text': ["const c = 'a' < 'b' ? 2 : 3", 2],
  '=== on anything': [
    "const o = {}; const c = (o === o ? 1 : 0) + (o === {} ? 10 : 0) + (null === undefined ? 100 : 0) + ('a' === 1 ? 1000 : 0)",
    1,
  ],
  'as, satisfies and !': [
    'const a = [1, 2] as const; const o = { n: 3 } satisfies object; const c = a[1]! + (o.n as number)',
    5,
  ],
  'Number and Infinity': ['const c = Number.isInteger(3) && Infinity > 1e30 ? 4 : 5', 4],
};
for (const [name, [code, c]] of Object.entries(constants))
  test(name, async () => {
    assert.equal(
      await body(`${code};\nreturn x * c;`),
      input.map((v) => v * c),
    );
  });

test('constants of the file are computed once and shared', async () => {
  const source = kernel(
    'return x * scale + at(table, 1);',
    'const scale = 2 ** 3;\nconst table = tensor([1, 2, 3]);',
  );
  assert.equal(
    await values(source, [t(input)]),
    input.map((v) => v * 8 + 2),
  );
});

test('nested tables have axes', async () => {
  assert.equal(
    await body('return sum(tensor([[1, 2, 3, 4], [5, 6, 7, 8]]), 0) * x;'),
    [6, 16, 30, 48],
  );
});

test('unrolled loops build tensors from arrays', async () => {
  const code = 'const rows = []; for (const k of [1, 2]) rows.push(x * k); return concat(rows);';
  assert.equal(await body(code), [...input, ...input.map((v) => v * 2)]);
});

test('a factory makes a function of its options', async () => {
  const before =
    'const poly = ({ degree = 1, scale }: { degree?: number; scale?: number } = {}) => (v) => pow(v, degree) * (scale ?? 1);';
  const source = kernel(
    'return poly({ degree: 2 })(x) + poly({ scale: 3 })(x) + poly()(x);',
    before,
  );
  assert.equal(
    await values(source, [t(input)]),
    input.map((v) => v * v + 3 * v + v),
  );
});

test('functions shadow builtins and builtins can be renamed', async () => {
  assert.equal(
    await body('const total = sum; const abs = (v) => v + 1; return x * total(abs(x));'),
    [14, 28, 42, 56],
  );
});

test.run();
