// Accuracy of ops/linalg: the error of f32 on WebAssembly next to that of the same kernels on the interpreter in f64,
// as the table of docs/linalg.md. Run: node --import ./scripts/typescript.js bench/linalg.ts
import type { Artifact } from '../compiler/artifact.ts';
import { stage } from '../compiler/frontend/entry.ts';
import { SourceFiles } from '../compiler/frontend/modules.ts';
import { compile, type HostArray } from '../compiler/index.ts';
import { interpret } from '../compiler/interpreter/interpret.ts';
import { integers } from '../test/conformance/arrays.ts';
import { wasmRunner } from '../test/conformance/wasm-runner.ts';
import { hostOf, kernelOf, request, sourceOf } from '../test/library/harness.ts';

const names = 'cholesky, eigh, inverseSpd, qr, randomizedSvd, svd';
const helpers = `
const eye = (n) => f32(reshape(iota(n), [n, 1]) === iota(n));
const worst = (x) => amax(abs(x));
const gram = (a) => matmul(transpose(a), a);
const unlike = (q) => worst(gram(q) - eye(dim(q, 1)));
`;
const rows: readonly (readonly [what: string, before: string, result: string])[] = [
  [
    'Cholesky: L Lᵀ - G, of G',
    'const g = gram(a); const l = cholesky(g);',
    'worst(matmul(l, transpose(l)) - g) / worst(g)',
  ],
  ['inverse: G G⁻¹ - I', 'const g = gram(a);', 'worst(matmul(g, inverseSpd(g)) - eye(dim(a, 1)))'],
  ['QR: Q R - A, of A', 'const f = qr(a);', 'worst(matmul(f.q, f.r) - a) / worst(a)'],
  ['QR: Qᵀ Q - I', 'const f = qr(a);', 'unlike(f.q)'],
  [
    'SVD: U S Vᵀ - A, of A',
    'const f = svd(a);',
    'worst(matmul(f.u * f.s, transpose(f.v)) - a) / worst(a)',
  ],
  ['SVD: Uᵀ U - I', 'const f = svd(a);', 'unlike(f.u)'],
  [
    'eigh: V D Vᵀ - G, of G',
    'const g = gram(a); const f = eigh(g);',
    'worst(matmul(f.v * f.values, transpose(f.v)) - g) / worst(g)',
  ],
  ['eigh: Vᵀ V - I', 'const f = eigh(gram(a));', 'unlike(f.v)'],
  [
    'randomised SVD, rank 4 of 4: A - U S Vᵀ, of A',
    'const b = matmul(slice(a, 0, 4, 1), transpose(slice(a, 0, 4, 1))); const f = randomizedSvd(b, 4);',
    'worst(matmul(f.u * f.s, transpose(f.v)) - b) / worst(b)',
  ],
];

function matrix(m: number, n: number): HostArray {
  const next = integers(n);
  const data = Float32Array.from({ length: m * n }, () => (next() % 20000) / 10000 - 1);
  return { dtype: 'f32', shape: [m, n], data };
}

console.log(
  '| error, largest entry | n = 16, f32 | f64 | n = 48, f32 | f64 |\n|---|---|---|---|---|',
);
for (const [what, before, result] of rows) {
  const text = sourceOf(
    { 'quern/linalg': names },
    helpers + kernelOf('a: Tensor<f32, [M, K]>', `${before}\nreturn [${result}];`),
  );
  const host = hostOf(text);
  const { func } = stage(new SourceFiles(host), request);
  const { artifact } = await compile({ ...request, target: 'wasm' }, host);
  const cells: string[] = [];
  for (const n of [16, 48]) {
    const a = matrix(n + 16, n);
    const [got] = await wasmRunner.run(artifact as Artifact, [a]);
    const [exact] = interpret(func, [a], { precision: 'f64' });
    cells.push(got!.data[0]!.toExponential(1), exact!.data[0]!.toExponential(1));
  }
  console.log(`| ${what} | ${cells.join(' | ')} |`);
}
