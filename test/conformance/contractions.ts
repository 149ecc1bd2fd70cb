// Random contractions: operands that are stored, scaled, decoded by block or looked up, on either side, with what
// may follow. All values are whole and small, so that factored and tiled sums are exact.
import fc from 'fast-check';
import { random, scalar, whole } from './arrays.ts';
import type { Case } from './case.ts';

const activations = [
  'x',
  'x * s + 1',
  'p * col',
  'f32(p)',
  'i32(p)',
  'x - amax(x, 1, { keepdims: true })',
  'reshape(group(x, 32) * amax(group(x, 32), 2, { keepdims: true }), shape(x))',
  'concat([slice(x, 0, 1, 1), slice(x, 1, dim(x, 1), 1)], 1)',
  'pad(x, 0, 0, { axis: 0 })',
  'gather(x, iota(dim(x, 0)) * 2)',
  'x * reshape(iota(dim(x, 1)) & 3, [1, -1])',
];
const blocks = 'reshape(d, [dim(q, 0), -1, 1])';
const weights = [
  'w',
  'q - 8',
  'q * e',
  '(q - 8) * e',
  `reshape((group(q, 32) - 8) * ${blocks}, shape(q))`,
  `reshape(group(q, 32) * ${blocks} + ${blocks}, shape(q))`,
  `reshape(group(w, 32) * ${blocks}, shape(w))`,
  'gather(tensor([-3, 0, 1, 2, 5, 7, -1, 4, 0, 0, 6, 1, 2, 3, -8, 8]), q)',
  'reshape(map([dim(q, 0), dim(q, 1) / 32], (i, j) => (at(group(q, 32), i, j) - 5) * at(d, i, j)), shape(q))',
  'z',
  `reshape(group(z, 32) * ${blocks}, shape(z))`,
];
const after = [
  'y',
  'y + b',
  'max(y, 0) * r',
  'r - y',
  'i16(clamp(y, -999, 999))',
  'amax(y, 1)',
  'transpose(y)',
  'y * y',
  'y + amax(x, 1, { keepdims: true })',
  'f16(clamp(y, -2048, 2048))',
  'reshape(y, [-1])',
  'y > r',
  'concat([y, r], 1)',
  'y - amin(y, 0)',
];
const pick = (n: readonly string[]): fc.Arbitrary<string> => fc.constantFrom(...n);

export const contractions: fc.Arbitrary<Case> = fc
  .record({
    x: pick(activations),
    w: pick(weights),
    epilogue: pick(after),
    swapped: fc.boolean(),
    symbolic: fc.nat(7),
    seed: fc.integer({ min: 1, max: 99 }),
    m: fc.constantFrom(1, 2, 3, 5, 7),
    n: fc.constantFrom(1, 3, 4, 5, 9, 16),
    k: fc.constantFrom(32, 64, 96),
  })
  .map(({ x, w, epilogue, swapped, symbolic, seed, m, n, k }): Case => {
    const [M, N, K] = [m, n, k].map((d, i) => ((symbolic >> i) & 1 ? 'MNK'[i]! : `${d}`));
    const shapes: readonly (readonly [string, string, readonly number[]])[] = [
      ['x', `f32, [${M}, ${K}]`, [m, k]],
      ['p', `i4, [${M}, ${K}]`, [m, k]],
      ['col', `f32, [${M}, 1]`, [m, 1]],
      ['w', `f32, [${N}, ${K}]`, [n, k]],
      ['q', `u4, [${N}, ${K}]`, [n, k]],
      ['z', `i8, [${N}, ${K}]`, [n, k]],
      ['d', `f16, [${N}, ${K === 'K' ? 'K' : k / 32}]`, [n, k / 32]],
      ['e', `f32, [${N}, 1]`, [n, 1]],
      ['b', `f32, [${N}]`, [n]],
      ['r', `f32, [${M}, ${N}]`, [m, n]],
    ];
    // Blocks of a symbolic K: the fields of K / 32 blocks come as a part of something of K columns.
    const fields = K === 'K' ? '  const d = slice(dd, 0, dim(w, 1) / 32, 1);\n' : '';
    const named = (name: string): string => (name === 'd' && K === 'K' ? 'dd' : name);
    const product = swapped
      ? 'transpose(matmul(right, transpose(left)))'
      : 'matmul(left, transpose(right))';
    return {
      name: 'a contraction',
      params: `${shapes.map(([name, type]) => `${named(name)}: Tensor<${type}>`).join(', ')}, s: Scalar`,
      body: `${fields}  const left = ${x};\n  const right = ${w};\n  const y = ${product};`,
      results: { out: `f32(${epilogue}) + 0` },
      calls: [
        [
          ...shapes.map(([name, type, shape], i) => {
            const dtype = type.split(',')[0] as 'f32';
            const full = name === 'd' && K === 'K' ? [n, k] : shape;
            return dtype === ('u4' as string)
              ? random(dtype, full, seed + i)
              : whole(dtype, full, seed + i, name === 'z' ? 100 : 3);
          }),
          scalar('f32', 2),
        ],
      ],
    };
  });
