// What `dot` and `dot4` multiply is computed in narrow lanes where ranges show that it may be: expressions whose values fit,
// of others that may be far too large for a lane, are the same numbers as on the evaluator.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import fc from 'fast-check';
import { wasmBackend } from '../../backends/wasm/index.ts';
import { Poly } from '../../compiler/ir/algebra.ts';
import type { DType } from '../../compiler/ir/dtype.ts';
import { evaluate } from '../../compiler/loops/evaluate.ts';
import {
  type Buffer,
  type Expr,
  type ExprOf,
  type Stmt,
  binary,
  constant,
  dot,
  dot4,
  i32,
  load,
  tile,
  variable,
} from '../../compiler/loops/loops.ts';
import { intRange, type Range } from '../../compiler/loops/ranges.ts';
import { computesRelaxed } from '../../runtime/devices/relaxed.ts';
import type { WasmApi } from '../../runtime/platform.ts';
import {
  buffer,
  bytesFor,
  compileWasm,
  kernel,
  newVar,
  program,
  runModule,
  store,
} from '../loops/programs.ts';
import { skip } from '../support/skip.ts';

const test = suite('narrow lanes');

const lanes = 16;
const stored: readonly DType[] = ['i8', 'u8', 'i16', 'i32', 'u4', 'i3'];
type BinaryOp = ExprOf<'binary'>['op'];
type Tree =
  | { readonly load: number }
  | { readonly op: BinaryOp; readonly a: Tree; readonly by: number }
  | { readonly op: BinaryOp; readonly a: Tree; readonly b: Tree }
  | { readonly moved: Tree; readonly by: number };

const trees: fc.Arbitrary<Tree> = fc.letrec<{ tree: Tree }>((tie) => {
  const small = fc.oneof(
    fc.integer({ min: -3, max: 300 }),
    fc.integer({ min: -70000, max: 70000 }),
  );
  const op = <T extends BinaryOp>(...ops: readonly T[]) => fc.constantFrom(...ops);
  const tree = tie('tree');
  return {
    tree: fc.oneof(
      { maxDepth: 4 },
      fc.record({ load: fc.nat(stored.length - 1) }),
      fc.record({ op: op('add', 'sub', 'mul', 'and', 'or', 'xor'), a: tree, by: small }),
      fc.record({ op: op('shr', 'shl'), a: tree, by: fc.nat(9) }),
      fc.record({ op: op('add', 'sub', 'and', 'or', 'xor'), a: tree, b: tree }),
      // Far away and back: what is in between fits no lane that the value fits.
      fc.record({ moved: tree, by: small }),
    ),
  };
}).tree;

const [signed, unsigned]: readonly [Range, Range] = [
  [-128, 127],
  [0, 255],
];
const whole = (x: number): Expr => constant(x, 'i32', lanes);
function built(t: Tree, buffers: readonly Buffer[]): Expr {
  if ('load' in t) return load(buffers[t.load]!, i32(0), lanes, lanes);
  if ('moved' in t)
    return binary('sub', binary('add', built(t.moved, buffers), whole(t.by)), whole(t.by));
  return binary(t.op, built(t.a, buffers), 'b' in t ? built(t.b, buffers) : whole(t.by));
}

/** The expression, under a mask if its range is beyond the bounds. */
function within(e: Expr, [min, max]: Range, mask: number): Expr {
  const [lo, hi] = intRange(e);
  return lo >= min && hi <= max ? e : binary('and', e, whole(mask));
}

const bytesOf = (d: DType): fc.Arbitrary<Uint8Array> => {
  const { length } = bytesFor(d, lanes);
  return fc.uint8Array({ minLength: length, maxLength: length });
};
const inputs = fc.tuple(...stored.map(bytesOf));

/** The products of a tree as words and as bytes, of the expression itself and of a name for it. */
function programOf(t: Tree, mask: number) {
  const from = stored.map((d, i) => buffer(`x${i}`, d));
  const body: Stmt[] = [];
  const named = (value: Expr): Expr => {
    const v = newVar('v', 'i32', lanes);
    body.push({ kind: 'let', var: v, value });
    return variable(v);
  };
  const value = built(t, from);
  const word = within(value, [-2047, 2047], mask);
  const byte = within(value, intRange(value)[0] < 0 ? signed : unsigned, mask & 255);
  const other = load(from[0]!, i32(0), lanes, lanes);
  const few = named(tile(load(from[0]!, i32(4), 4, 4), lanes));
  const products = [
    dot(word, other),
    dot(named(word), other),
    dot4(byte, few),
    dot4(few, named(byte)),
  ];
  const y = { ...buffer('y', 'i32', 'result'), size: Poly.of(4 * products.length) };
  products.forEach((e, i) => body.push(store(y, i32(4 * i), e, 4)));
  return program([...from, y], kernel(body));
}

const api = (globalThis as unknown as { readonly WebAssembly: WasmApi }).WebAssembly;
const hosts = computesRelaxed(api) ? [false, true] : [false];
if (hosts.length === 1)
  skip('narrow lanes with relaxed SIMD', 'this host does not compute relaxed SIMD');
for (const relaxed of hosts)
  test(`values are those of wide lanes${relaxed ? ', with relaxed SIMD' : ''}`, async () => {
    await fc.assert(
      fc.asyncProperty(trees, fc.integer({ min: 1, max: 2047 }), inputs, async (t, mask, data) => {
        const p = programOf(t, mask);
        const module = await compileWasm(p, { ...wasmBackend.limits, relaxed });
        const [expected, got] = [0, 1].map(() => [
          ...data.map((b) => b.slice()),
          new Uint8Array(64),
        ]);
        evaluate(p, { N: lanes }, expected!);
        runModule(module, p, { N: lanes }, got!);
        const numbers = (b: readonly Uint8Array[]) => [...new Int32Array(b.at(-1)!.buffer)];
        assert.equal(numbers(got!), numbers(expected!));
      }),
      { numRuns: 300 },
    );
  });

test.run();
