// The text form of the tensor IR: what is printed reads back to the same, and faults say where they
// are.
import { readFileSync, readdirSync } from 'node:fs';
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Poly, floorDiv } from '../../compiler/ir/algebra.ts';
import { TextError, parseFunc } from '../../compiler/ir/parser.ts';
import { parsePoly } from '../../compiler/ir/parse-poly.ts';
import { printFunc } from '../../compiler/ir/printer.ts';
import { verify } from '../../compiler/ir/verifier.ts';
import { marker } from '../passes/cases.ts';
import { program, steps } from './programs.ts';

const test = suite('text of the tensor IR');

const linear = `func linear<M, N, K>
  require K % 32 == 0 "q4_0 has blocks of 32"
  param x = %x : f32[M, K]
  param w = encoded "formats.ts#q4_0" [N, K] {d = %d : f16[N, K / 32], q = %q : u4[N, K / 32, 32]}
{
  %0 : f16[N, K / 32, 1] = reshape(%d)
  %1 : f32[N, K / 32, 32] = mul(%q, %0)
  %decoded : f32[N, K] = reshape(%1)
  %2 : f32[K, N] = transpose(%decoded) {perm: [1, 0]}
  %y : f32[M, N] = matmul(%x, %2)
  %rows : f32[M], %last : i32[M] = map {dims: [M]} (%i : i32) {
    %zero : f32 = const {value: -0}
    %sum : f32, %n : i32 = for(%zero, %i) {extent: N} (%j : i32, %acc : f32, %before : i32) {
      %3 : f32 = at(%y, %i, %j)
      %acc.1 : f32 = add(%acc, %3)
      yield %acc.1, %j
    }
    yield %sum, %n
  }
  return y = %y
  return "sum of rows" = %rows
  return again = encoded "formats.ts#q4_0" [N, K] {d = %d, q = %q}
}
`;

test('a function prints as it was written', () => {
  const func = parseFunc(linear);
  assert.snapshot(printFunc(func), linear);
  assert.equal(verify(func), []);
  assert.is(func.constraints[0]!.modulus, 32);
  assert.is(func.params[1]!.name, 'w');
  assert.is(func.results[1]!.name, 'sum of rows');
});

test('every function of the pass cases reads back to itself', () => {
  const folder = new URL('../passes/cases/', import.meta.url);
  for (const pass of readdirSync(folder))
    for (const file of readdirSync(new URL(`${pass}/`, folder)))
      for (const text of readFileSync(new URL(`${pass}/${file}`, folder), 'utf8').split(marker)) {
        const printed = printFunc(parseFunc(text));
        assert.snapshot(printFunc(parseFunc(printed)), printed, `${pass}/${file}`);
      }
});

test('generated functions read back to themselves and are well formed', () => {
  fc.assert(
    fc.property(steps, (list) => {
      const func = program(list);
      assert.equal(
        verify(func).map((p) => p.message),
        [],
      );
      const text = printFunc(func);
      const again = parseFunc(text);
      assert.is(printFunc(again), text);
      assert.equal(
        verify(again).map((p) => p.message),
        [],
      );
    }),
    { numRuns: 300 },
  );
});

const dims = ['K', 'M', 'N_1', 'div'].map(Poly.dim);
const poly: fc.Arbitrary<Poly> = fc.letrec<{ poly: Poly }>((tie) => ({
  poly: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    fc.constantFrom(...dims, Poly.of(0), Poly.of(1)),
    fc.integer({ min: -40, max: 40 }).map(Poly.of),
    fc.tuple(tie('poly'), tie('poly')).map(([a, b]) => a.add(b)),
    fc.tuple(tie('poly'), tie('poly')).map(([a, b]) => a.mul(b)),
    fc.tuple(tie('poly'), fc.integer({ min: 1, max: 40 })).map(([a, n]) => a.over(n)!),
    fc.tuple(tie('poly'), fc.integer({ min: 1, max: 40 })).map(([a, n]) => floorDiv(a, n)),
  ),
})).poly;

test('dims read back to themselves', () => {
  for (const text of ['K / 32', '3*K / 2 + 1', '(K + 31 div 32)', 'K*M - 2*N', '-K', '0'])
    assert.is(parsePoly(text).toString(), text);
  assert.ok(parsePoly('2 * (K + 1)').equals(Poly.dim('K').mul(2).add(2)));
  fc.assert(
    fc.property(poly, (p) => {
      assert.is(parsePoly(p.toString()).toString(), p.toString());
      assert.ok(parsePoly(p.toString()).equals(p));
    }),
    { numRuns: 1000 },
  );
});

const faults: readonly (readonly [line: string, message: string])[] = [
  ['%y : f32[N] = expp(%x)', '4:17: unknown op expp'],
  ['%y : f33[N] = exp(%x)', '4:8: unknown dtype f33'],
  ['%y : f32[N] = exp(%z)', '4:21: %z is not defined'],
  ['%y : f32[N] = exp(%y)', '4:21: %y is not defined'],
  ['%x : f32[N] = exp(%x)', '4:3: %x is defined twice'],
  ['%y : f32[M] = exp(%x)', '4:3: %y is f32[N], not f32[M]'],
  ['%y : f32[N] = exp(%x, %x)', '4:17: exp does not take 2 operands'],
  ['%y : f32[N] = exp(%x) {axis: 1}', '4:26: exp has no attribute axis'],
  ['%y : f32[N] = sum(%x)', '4:17: sum needs the attribute axes'],
  [
    '%y : f32 = sum(%x) {axes: [3]}',
    '4:14: sum names axis 3, which the operand does not have (shape [N])',
  ],
  ['%y : f32 = sum(%x) {axes: [0], keepdims: maybe}', '4:44: maybe is neither true nor false'],
  ['%y : f32[N] = exp(%x', '5:1: '],
  ['%y : f32[N] = ?', '4:17: unexpected "?"'],
  ['%y : f32 = const {value: many}', '4:28: many is no number'],
  ['%y : f32[N / 0] = exp(%x)', '4:16: a dim is divided by a whole number other than 0'],
  ['%y : f32[N] = kernel {name: "a", schedule: "b"}', '4:17: kernel has 1 regions, not 0'],
  [
    '%y : i32[2] = map {dims: [2]} (%i : i32) { yield %i } %z : i32 = neg(%i)',
    '4:72: %i is not visible here',
  ],
];

for (const [line, message] of faults)
  test(`a fault is reported where it is: ${message}`, () => {
    try {
      parseFunc(`func f<M, N>\n  param x = %x : f32[N]\n{\n  ${line}\n}\n`);
    } catch (e) {
      assert.instance(e, TextError);
      const found = (e as TextError).message;
      assert.is(message.endsWith(': ') ? found.slice(0, message.length) : found, message);
      return;
    }
    assert.unreachable('it was read without a complaint');
  });

test('text that ends too early is reported at its end', () => {
  assert.throws(
    () => parseFunc('func f\n{\n  return'),
    (e: Error) => e.message.startsWith('3:9: '),
  );
  assert.throws(
    () => parseFunc(''),
    (e: Error) => e instanceof TextError,
  );
});

test('spans are offsets into the text', () => {
  const func = parseFunc(linear, 'linear.tir');
  const { file, start, end } = func.body.ops[1]!.span;
  assert.is(file, 'linear.tir');
  assert.is(linear.slice(start, end), '%1 : f32[N, K / 32, 32] = mul(%q, %0)');
});

test.run();
