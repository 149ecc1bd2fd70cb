import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { wasmBackend } from '../../backends/wasm/index.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import {
  type Expr,
  type Program,
  type Stmt,
  type Var,
  binary,
  build,
  compare,
  constant,
  convert,
  dimExpr,
  extract,
  i32,
  laneIds,
  load,
  reduce,
  select,
  splat,
  unary,
  variable,
} from '../../compiler/loops/loops.ts';
import {
  buffer,
  bytesOf,
  intsOf,
  kernel,
  loop,
  newVar,
  program,
  runWasm,
  store,
} from '../loops/programs.ts';

const test = suite('statements and vectors on wasm');

const let_ = (v: Var, value: Expr): Stmt => ({ kind: 'let', var: v, value });
const local = (v: Var, value: Expr): Stmt => ({ kind: 'local', var: v, value });
const set = (v: Var, value: Expr): Stmt => ({ kind: 'set', var: v, value });
const add = (a: Expr, b: Expr): Expr => binary('add', a, b);
const mul = (a: Expr, b: Expr): Expr => binary('mul', a, b);

/** Runs on both over x: i32[64] and y: i32[64]; they must agree, and y is returned. */
async function both(
  make: (x: ReturnType<typeof buffer>, y: ReturnType<typeof buffer>) => Stmt[],
  n = 40,
): Promise<number[]> {
  const [x, y] = [buffer('x', 'i32'), buffer('y', 'i32', 'result')];
  const p: Program = program([x, y], kernel(make(x, y)));
  const input = bytesOf(Int32Array.from({ length: 64 }, (_, i) => i * i - 20 * i + 3));
  const [a, b] = [
    [input.slice(), input.slice()],
    [input.slice(), input.slice()],
  ];
  evaluate(p, { N: n }, a);
  await runWasm(p, { N: n }, b);
  assert.equal([...intsOf(b[1]!)], [...intsOf(a[1]!)]);
  return [...intsOf(a[1]!)];
}

test('for takes full steps only, and none when the range is empty', async () => {
  for (const n of [0, 1, 3, 4, 5, 8, 40])
    await both((_x, y) => [loop('i', i32(0), dimExpr('N'), 4, (i) => [store(y, i, i)])], n);
  await both((_x, y) => [loop('i', i32(5), i32(2), 1, (i) => [store(y, i, i)])]);
});

test('while runs its header before every test', async () => {
  const out = await both((_x, y) => {
    const [i, sum] = [newVar('i', 'i32'), newVar('sum', 'i32')];
    const next = newVar('next', 'i32');
    return [
      local(i, i32(0)),
      local(sum, i32(0)),
      {
        kind: 'while',
        header: [let_(next, add(variable(i), i32(3)))],
        cond: compare('lt', variable(next), dimExpr('N')),
        body: [set(i, variable(next)), set(sum, add(variable(sum), variable(i)))],
      },
      store(y, i32(0), variable(sum)),
      store(y, i32(1), variable(i)),
    ];
  });
  assert.is(out[1], 39);
});

test('if takes one side', async () => {
  await both((x, y) => [
    loop('i', i32(0), dimExpr('N'), 1, (i) => [
      {
        kind: 'if',
        cond: compare('lt', load(x, i, 1, 1), i32(0)),
        then: [store(y, i, i32(-1))],
        else: [store(y, i, load(x, add(i, i32(1)), 1, 1))],
      },
    ]),
  ]);
});

test('an index that a set changes is computed anew', async () => {
  await both((x, y) => {
    const k = newVar('k', 'i32');
    return [
      local(k, i32(2)),
      store(y, variable(k), load(x, variable(k), 1, 1)),
      set(k, i32(7)),
      store(y, variable(k), load(x, variable(k), 1, 1)),
      loop('i', i32(0), i32(3), 1, () => [
        store(y, variable(k), load(x, add(variable(k), i32(1)), 1, 1)),
        set(k, add(variable(k), i32(5))),
        store(y, variable(k), load(x, add(variable(k), i32(1)), 1, 1)),
      ]),
      store(y, variable(k), i32(99)),
    ];
  });
});

test('a vector store reads its whole value first, also where it overlaps itself', async () => {
  await both((_x, y) => [store(y, i32(1), load(y, i32(0), 16, 1))]);
  await both((_x, y) => [store(y, i32(0), load(y, i32(3), 16, 1))]);
});

test('runs of vector statements keep the order where lanes cross', async () => {
  await both((x, y) => {
    const [a, b, c] = [newVar('a', 'i32', 8), newVar('b', 'i32', 8), newVar('c', 'i32', 8)];
    return [
      local(a, load(x, i32(0), 8, 1)),
      let_(b, add(variable(a), splat(reduce('add', variable(a)), 8))),
      set(a, add(variable(a), variable(b))),
      let_(c, splat(reduce('add', variable(b)), 8)),
      set(a, add(variable(c), splat(extract(variable(a), 6), 8))),
      store(y, i32(0), variable(a)),
      store(y, i32(8), add(load(y, i32(4), 8, 1), variable(b))),
      store(y, i32(16), mul(load(y, i32(12), 8, 1), variable(c))),
    ];
  });
  await both((x, y) => {
    const [a, b] = [newVar('a', 'i32', 8), newVar('b', 'i32', 8)];
    return [
      local(a, load(x, i32(0), 8, 1)),
      let_(b, splat(reduce('max', add(variable(a), laneIds(8))), 8)),
      set(a, variable(b)),
      store(y, i32(3), add(variable(a), variable(b))),
    ];
  });
});

test('a load after a store to the same bytes sees them, whatever the width', async () => {
  for (const d of ['i32', 'u16', 'u8', 'u4', 'f16'] as const) {
    const [x, y] = [buffer('x', d), buffer('y', 'f32', 'result')];
    const [a, b] = [newVar('a', 'f32', 16), newVar('b', 'f32', 16)];
    const again = load(x, i32(0), 16, 16);
    const grown = convert(add(convert(again, 'i32'), constant(1, 'i32', 16)), again.type.scalar);
    const p = program(
      [x, y],
      kernel([
        let_(a, convert(again, 'f32')),
        store(x, i32(0), grown, 16),
        let_(b, convert(again, 'f32')),
        store(y, i32(0), add(mul(variable(a), constant(100, 'f32', 16)), variable(b)), 16),
      ]),
    );
    const buffers = (): Uint8Array[] => [new Uint8Array(64).fill(0x35), new Uint8Array(64)];
    const [expected, got] = [buffers(), buffers()];
    evaluate(p, { N: 0 }, expected);
    await runWasm(p, { N: 0 }, got);
    assert.equal(got, expected, d);
  }
});

test('vectors of 2, 4, 8 and 32 are built, taken apart and reduced alike', async () => {
  for (const lanes of [2, 4, 8, 32])
    await both((x, y) => {
      const v = load(x, i32(3), lanes, 1);
      const mixed = build(
        Array.from({ length: lanes }, (_, i) => (i % 3 ? load(x, i32(i), 1, 1) : i32(i))),
      );
      const constants = build(Array.from({ length: lanes }, (_, i) => i32(i * 7)));
      const positive = compare('gt', v, constant(0, 'i32', lanes));
      return [
        store(y, i32(0), add(mixed, constants)),
        store(y, i32(32), reduce('add', v)),
        store(y, i32(33), reduce('min', v)),
        store(y, i32(34), reduce('max', v)),
        store(y, i32(35), convert(reduce('and', positive), 'i32')),
        store(y, i32(36), convert(reduce('or', positive), 'i32')),
        store(y, i32(37), reduce('or', v)),
        store(y, i32(38), extract(v, lanes - 1)),
        store(y, i32(39), convert(reduce('add', convert(v, 'f32')), 'i32')),
        store(y, i32(40), convert(extract(positive, 1), 'i32')),
        store(
          y,
          i32(41),
          convert(extract(unary('sqrt', convert(unary('abs', v), 'f32')), 1), 'i32'),
        ),
      ];
    });
});

test('select of scalars and vectors with bool operands', async () => {
  await both((x, y) => {
    const v = load(x, i32(0), 8, 1);
    const p = compare('lt', v, constant(0, 'i32', 8));
    const q = compare('lt', laneIds(8), constant(4, 'i32', 8));
    return [
      store(y, i32(0), convert(select(p, q, unary('not', q)), 'i32')),
      store(y, i32(8), convert(splat(compare('lt', load(x, i32(9), 1, 1), i32(0)), 8), 'i32')),
      store(
        y,
        i32(16),
        convert(build([constant(1, 'bool'), compare('lt', load(x, i32(9), 1, 1), i32(0))]), 'i32'),
      ),
    ];
  });
});

test('negative parts of an index do not wrap an address', async () => {
  await both((x, y) => {
    const k = newVar('k', 'i32');
    return [
      let_(k, load(x, i32(10), 1, 1)),
      store(y, i32(0), load(x, add(add(variable(k), i32(97)), i32(9)), 4, 1)),
      loop('i', i32(-4), i32(4), 1, (i) => [
        store(y, add(i, i32(8)), load(x, add(i, i32(4)), 1, 1)),
      ]),
    ];
  });
});

test('kernels run in order and the text names them', async () => {
  const [x, y] = [buffer('x', 'i32'), buffer('y', 'i32', 'result')];
  const p = program(
    [x, y],
    kernel([store(y, i32(0), i32(5))], 'first'),
    kernel([store(y, i32(0), add(load(y, i32(0), 1, 1), i32(2)))], 'second'),
  );
  const buffers = [new Uint8Array(4), new Uint8Array(4)];
  await runWasm(p, { N: 1 }, buffers);
  assert.is(intsOf(buffers[1]!)[0], 7);
  const { text } = await wasmBackend.emit(p, wasmBackend.limits);
  assert.match(text(), /func \$0_first[\s\S]*func \$1_second/);
});

test.run();
