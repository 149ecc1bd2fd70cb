import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { wasmNative } from '../../backends/wasm/instructions.ts';
import { Poly, dim, floorDiv } from '../../compiler/ir/algebra.ts';
import type { UnaryName } from '../../compiler/ir/ops.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import { expand } from '../../compiler/loops/expand.ts';
import {
  type Expr,
  type Program,
  type Stmt,
  binary,
  bits,
  bounded,
  build,
  compare,
  constant,
  convert,
  decodeBits,
  dimExpr,
  encodeBits,
  extract,
  gather,
  i32,
  laneIds,
  load,
  peak,
  reduce,
  roundTo,
  select,
  splat,
  unary,
  variable,
  vtype,
  within,
} from '../../compiler/loops/loops.ts';
import { parseProgram } from '../../compiler/loops/parser.ts';
import { printProgram } from '../../compiler/loops/printer.ts';
import { verifyProgram } from '../../compiler/loops/verifier.ts';
import {
  buffer,
  bytesOf,
  elementwise,
  floatsOf,
  kernel,
  loop,
  newVar,
  program,
  store,
} from './programs.ts';

const test = suite('loop IR text and verifier');

const roundTrip = (p: Program): string => {
  const text = printProgram(p);
  const again = parseProgram(text);
  assert.is(printProgram(again), text);
  assert.equal(verifyProgram(again), []);
  return text;
};

const dot = `program "dot" (N, K) {
  buffer x: f32[K] param
  buffer w.q: u4[K*N] param
  buffer w.d: f16[K*N / 32] param
  buffer y: f32[N] result
  buffer table: f32[3] const = {-1, 0.5, 2}
  kernel "dot" by "gemv" {
    // one row at a time
    for n in 0..N step 1 parallel {
      local acc: f32x8 = f32x8(0.0)
      let row: i32 = n * K
      for kb in 0..K >> 5 step 1 {
        let d: f32 = w.d[(row >> 5) + kb]
        let q: f32x8 = f32(w.q[row + kb * 32 : 8 @ 32] - i32x8(8))
        acc = acc + q * splat(d, 8) * x[kb * 32 : 8 @ 32]
      }
      y[n] = reduce_add(acc)
    }
  }
}
`;

test('a kernel reads back as it was printed', () => {
  const p = parseProgram(dot);
  assert.is(printProgram(p), dot);
  assert.equal(verifyProgram(p), []);
});

test('the parsed kernel runs', () => {
  const p = parseProgram(dot);
  const x = Float32Array.from({ length: 32 }, (_, i) => (i < 8 ? i : 99));
  const q = new Uint8Array(32).fill(0xa9);
  const d = Uint8Array.of(0x00, 0x3c, 0x00, 0x40);
  const y = new Uint8Array(8);
  evaluate(p, { N: 2, K: 32 }, [bytesOf(x), q, d, y, new Uint8Array(12)]);
  // Codes 9 and 10 are 1 and 2: 0*1 + 1*2 + 2*1 + ...
  const sum = [0, 1, 2, 3, 4, 5, 6, 7].reduce((s, k) => s + k * (k % 2 ? 2 : 1), 0);
  assert.equal([...floatsOf(y)], [sum, 2 * sum]);
});

test('every kind of expression and statement survives the text', () => {
  const [x, q, y] = [buffer('x', 'f32'), buffer('a-b', 'i4'), buffer('y', 'f32', 'result')];
  const [v, w, b] = [newVar('v', 'f32', 8), newVar('v', 'f32', 8), newVar('let', 'bool')];
  const u = newVar('N', 'u32');
  const f = variable(v);
  const i = load(q, i32(8), 8, 8);
  const body: Stmt[] = [
    { kind: 'comment', text: 'all of it' },
    { kind: 'local', var: v, value: load(x, i32(0), 8, 4) },
    store(y, i32(3), peak(within(f, -1.5, 3.000000238418579))),
    store(y, i32(3), peak(bounded(f, -Infinity, 0))),
    { kind: 'let', var: w, value: gather(x, binary('and', i, splat(i32(7), 8))) },
    { kind: 'let', var: u, value: binary('shr', constant(4000000000, 'u32'), constant(3, 'u32')) },
    { kind: 'let', var: b, value: unary('not', compare('ne', variable(u), constant(0, 'u32'))) },
    {
      kind: 'set',
      var: v,
      value: select(compare('lt', f, variable(w)), unary('neg', f), constant(-0, 'f32', 8)),
    },
    {
      kind: 'set',
      var: v,
      value: binary('sub', f, binary('sub', f, binary('mul', binary('add', f, f), f))),
    },
    {
      kind: 'set',
      var: v,
      value: decodeBits('f8e4m3', encodeBits('f8e4m3', roundTo('f8e4m3', f))),
    },
    { kind: 'set', var: v, value: binary('max', binary('pow', f, f), unary('roundHalfUp', f)) },
    { kind: 'set', var: v, value: bits(binary('xor', bits(f, 'i32'), laneIds(8)), 'f32') },
    { kind: 'set', var: v, value: splat(extract(convert(i, 'f32'), 3), 8) },
    {
      kind: 'if',
      cond: binary('or', variable(b), constant(1, 'bool')),
      then: [store(y, i32(0), build([constant(Infinity, 'f32'), constant(-Infinity, 'f32')]))],
      else: [store(y, i32(1), unary('neg', constant(3, 'f32')))],
    },
    {
      kind: 'while',
      header: [],
      cond: compare('ge', unary('neg', i32(-2147483648)), dimExpr('N')),
      body: [store(y, i32(2), reduce('max', f))],
    },
    loop('i', i32(0), dimExpr('N'), 8, (k) => [
      store(y, k, constant(NaN, 'f32')),
      store(y, k, constant(1e-45, 'f32')),
    ]),
    loop('i', i32(0), dimExpr('N'), 8, () => []),
  ];
  const text = roundTrip(program([x, q, y], kernel(body, 'odd "name"')));
  assert.match(text, 'v_1');
});

test('expanded kernels survive the text', () => {
  for (const op of [
    'exp',
    'log2',
    'sin',
    'tanh',
    'roundHalfAway',
    'exponent',
  ] satisfies UnaryName[]) {
    const out = op === 'exponent' ? 'i32' : 'f32';
    roundTrip(
      expand(
        elementwise(['f16'], out, 8, (a) => unary(op, a!)),
        wasmNative,
      ),
    );
  }
  const table = elementwise(['f16'], 'f32', 8, (a) => a!);
  const codes = newVar('c', 'f32', 4);
  const gathered = kernel([
    { kind: 'let', var: codes, value: gather(table.buffers[0]!, laneIds(4)) },
  ]);
  roundTrip(expand({ ...table, kernels: [gathered] }, wasmNative));
  roundTrip(
    expand(
      elementwise(['f32', 'f32'], 'f8e5m2', 8, (a, c) => binary('pow', a!, c!)),
      wasmNative,
    ),
  );
});

test('sizes are polynomials', () => {
  const [k, n] = [dim('K'), dim('N')];
  for (const size of [
    k.mul(n).mul(3).over(32)!,
    Poly.of(0),
    k.sub(n).add(5),
    floorDiv(k.add(7), 8).mul(8),
    k.neg(),
    floorDiv(k, n.add(1)).mul(k).add(2),
  ]) {
    const x = { ...buffer('x', 'f32'), size };
    roundTrip({ ...program([x], kernel([])), dims: ['K', 'N'] });
  }
});

test('what is no loop IR is refused with its line', () => {
  const refuse = (from: string, to: string, message: RegExp): void => {
    assert.throws(() => parseProgram(dot.replace(from, to)), message);
  };
  refuse('local acc', 'lokal acc', /loop IR 10:/);
  refuse('row + kb * 32 : 8', 'rov + kb * 32 : 8', /line 14: no variable or dim rov/);
  refuse('y[n] =', 'z[n] =', /no buffer z/);
  refuse('f32x8(0.0)', 'f33x8(0.0)', /no type f33x8/);
  refuse('splat(d, 8)', 'd', /f32x8 with f32/);
});

test('the verifier names what is wrong', () => {
  const y = buffer('y', 'f32', 'result');
  const q = buffer('q', 'u4');
  const [a, c] = [newVar('a', 'f32'), newVar('c', 'f32')];
  const one = constant(1, 'f32');
  const bad = (body: Stmt[], message: RegExp): void => {
    const found = verifyProgram(program([y, q], kernel(body))).join('\n');
    assert.match(found, message);
  };
  bad([store(y, i32(0), variable(a))], /a is used before it is defined/);
  bad(
    [
      { kind: 'let', var: a, value: one },
      { kind: 'set', var: a, value: one },
    ],
    /a is set but is no local/,
  );
  bad([{ kind: 'let', var: a, value: i32(1) }], /a is f32 but gets i32/);
  bad([store(y, i32(0), i32(1))], /i32 stored into y/);
  bad([store(y, one, one)], /the index of y is f32/);
  bad(
    [{ kind: 'let', var: newVar('v', 'i32', 8), value: load(q, i32(0), 8, 1) }],
    /may start inside of a byte/,
  );
  bad([store(y, i32(0), load(y, i32(0), 3, 1))], /3 lanes/);
  bad([store(buffer('z', 'f32'), i32(0), one)], /z is no buffer/);
  bad([store(y, i32(0), convert(dimExpr('Q'), 'f32'))], /no dim Q/);
  bad(
    [store(y, i32(0), { ...binary('add', one, one), type: vtype('i32') } as Expr)],
    /add is i32, not f32/,
  );
  bad(
    [
      loop('i', i32(0), i32(3), 1, () => [{ kind: 'let', var: c, value: one }]),
      store(y, i32(0), variable(c)),
    ],
    /c is used before/,
  );
  bad([store(y, i32(0), binary('and', one, one))], /and of f32/);
});

test.run();
