// The integer road on the GPU: where both operands are encoded, sums of a block's products go through __dp4a, on bytes
// made from the words in memory. Run on the CPU, they agree with the interpreter.
import { readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compile, type HostArray, interpret } from '../../compiler/index.ts';
import { unit } from '../conformance/arrays.ts';
import { skip } from '../support/skip.ts';
import { hasCompiler, type Job, runOnHost } from './host.ts';

const file = '/dot/kernel.ts';
const source = `import { abs, amax, at, clamp, decode, f16, format, gather, i2, i4, i8, matmul, round, transpose, u2, u4 } from 'quern';
const signed = (cast, top) => format({
  block: 32,
  encode(x) {
    const d = f16(amax(abs(x)) / top);
    return { d, q: cast(clamp(round(d === 0 ? 0 : x / d), -top, top)) };
  },
  decode: ({ d, q }) => q * d,
});
const unsigned = (cast, top, zero) => format({
  block: 32,
  encode(x) {
    const d = f16(amax(abs(x)) / zero);
    return { d, q: cast(clamp(round(d === 0 ? zero : x / d + zero), 0, top)) };
  },
  decode: ({ d, q }) => (q - zero) * d,
});
export const signed8 = signed(i8, 127);
export const signed4 = signed(i4, 7);
export const signed2 = signed(i2, 1);
export const unsigned4 = unsigned(u4, 15, 8);
export const unsigned2 = unsigned(u2, 3, 1);
export function product<F extends Format, G extends Format, M extends Dim, N extends Dim, K extends Dim>(x: Encoded<G, [M, K]>, w: Encoded<F, [N, K]>) {
  return matmul(decode(x), transpose(decode(w)));
}
`;
const host = {
  readFile: (path: string): string => (path === file ? source : readFileSync(path, 'utf8')),
};
const library = (name: string) => ({ file: 'quern/formats', name });
const own = (name: string) => ({ file, name });

const pairs = [
  [own('signed8'), own('signed8')],
  [own('signed8'), own('signed4')],
  [own('signed4'), own('signed2')],
  [own('unsigned4'), own('signed8')],
  [own('signed8'), own('unsigned2')],
  [library('q8_0'), library('q4_0')],
  [library('q8_0'), library('iq4_nl')],
  [library('q8_0'), library('mxfp4')],
] as const;

const encoded = async (
  format: { readonly file: string; readonly name: string },
  rows: number,
  seed: number,
): Promise<readonly HostArray[]> => {
  const request = { file: format.file, name: `${format.name}.encode` };
  return (await interpret(request, [unit([rows, 96], seed)], host)).results;
};

const test = suite('CUDA: integer dot products');
if (!hasCompiler('g++')) skip('CUDA: integer dot products', 'no g++ at hand');
else
  test('encoded times encoded goes through __dp4a and agrees with the interpreter', async () => {
    const jobs: Job[] = [];
    const wants: Float32Array[] = [];
    for (const [x, w] of pairs) {
      const request = { file, name: 'product', formats: [w, x] };
      // Calls of few and of several rows are kernels of one artifact.
      const { artifact } = await compile({ ...request, target: 'cuda' }, host);
      assert.match(new TextDecoder().decode(artifact.code), /__dp4a\(/, `${x.name} x ${w.name}`);
      assert.match(
        new TextDecoder().decode(artifact.code),
        /product_i8\(\w+, /,
        `${x.name} x ${w.name}`,
      );
      for (const m of [1, 5, 19]) {
        const inputs = [...(await encoded(x, m, 1 + m)), ...(await encoded(w, 7, 9))];
        jobs.push({ name: `${x.name} x ${w.name}, ${m} rows`, artifact, inputs });
        wants.push((await interpret(request, inputs, host)).results[0]!.data as Float32Array);
      }
    }
    const results = await runOnHost(jobs, 3);
    jobs.forEach(({ name }, j) => {
      const got = results[j]![0]!.data;
      assert.is(got.length, wants[j]!.length);
      wants[j]!.forEach((y, i) => {
        assert.ok(
          Math.abs(y - got[i]!) <= 1e-5 * Math.max(1, Math.abs(y)),
          `${name}: [${i}] is ${got[i]}, the interpreter has ${y}`,
        );
      });
    });
  });
test.run();
