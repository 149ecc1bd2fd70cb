// Oracle of HQQ: the groups, the packings and the proximal solver of the library, by loops in double precision.
import { f, fromHalf, roundEven, toHalf } from './half.ts';
import { bytes, halves, limit, type PlaneReference, randomCodes, randomHalves } from './planes.ts';

export interface HqqOptions {
  readonly bits: number;
  readonly group: number;
  readonly axis: 0 | 1;
}

/** Group and member of the element at a flat index. */
function member(at: number, n: number, k: number, { group, axis }: HqqOptions): [number, number] {
  const groups = (n * k) / group;
  return axis === 1 ? [Math.floor(at / group), at % group] : [at % groups, Math.floor(at / groups)];
}

/** Codes in flat order to W_q: rows of the groups' matrix, the first of a word's rows in its highest bits. */
function pack(codes: Uint8Array, n: number, k: number, o: HqqOptions): Uint8Array {
  const { bits } = o;
  if (bits > 4) return codes;
  const columns = o.axis === 1 ? o.group : (n * k) / o.group;
  const rows = codes.length / columns;
  const perWord = bits === 3 ? 10 : 8 / bits;
  const step = Math.ceil(rows / perWord);
  const words = new Uint32Array(step * columns);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < columns; c++)
      words[(r % step) * columns + c]! |=
        codes[r * columns + c]! << (bits * (perWord - 1 - Math.floor(r / step)));
  return bits === 3 ? bytes(words) : Uint8Array.from(words);
}

function unpack(packed: Uint8Array, n: number, k: number, o: HqqOptions): Uint8Array {
  const { bits } = o;
  if (bits > 4) return packed;
  const columns = o.axis === 1 ? o.group : (n * k) / o.group;
  const rows = (n * k) / columns;
  const perWord = bits === 3 ? 10 : 8 / bits;
  const step = Math.ceil(rows / perWord);
  const words = bits === 3 ? new Uint32Array(packed.slice().buffer) : packed;
  return Uint8Array.from({ length: n * k }, (_, at) => {
    const r = Math.floor(at / columns);
    const word = words[(r % step) * columns + (at % columns)]!;
    return (word >>> (bits * (perWord - 1 - Math.floor(r / step)))) & (2 ** bits - 1);
  });
}

export function hqq(o: HqqOptions): PlaneReference {
  return {
    random: (n, k, seed, special) => ({
      W_q: pack(randomCodes(seed, n * k, o.bits), n, k, o),
      scale: bytes(randomHalves(seed + 1, (n * k) / o.group, special)),
      zero: bytes(randomHalves(seed + 2, (n * k) / o.group, special)),
    }),
    decode(planes, n, k) {
      const codes = unpack(planes.W_q!, n, k, o);
      const scale = halves(planes.scale!);
      const zero = halves(planes.zero!);
      return Float32Array.from({ length: n * k }, (_, at) => {
        const [g] = member(at, n, k, o);
        return f(f(codes[at]! - fromHalf(zero[g]!)) * fromHalf(scale[g]!));
      });
    },
  };
}

/** Scales and zero points of the groups, and the codes that they give once they are rounded to f16. */
export function solve(x: Float32Array, n: number, k: number, o: HqqOptions & { solve: boolean }) {
  const top = 2 ** o.bits - 1;
  const groups: number[][] = Array.from({ length: (n * k) / o.group }, () => []);
  x.forEach((v, at) => {
    const [g, m] = member(at, n, k, o);
    groups[g]![m] = v;
  });
  const density = groups.map((w) => Math.min(top / f(Math.max(...w) - Math.min(...w)), 2e4));
  const zero = groups.map((w, g) => {
    const start = -Math.min(...w) * density[g]!;
    return o.bits === 4 ? roundEven(f(start)) : start;
  });
  let best = 1e4;
  let beta = 10;
  for (let step = 0; o.solve && step < 20; step++) {
    let size = 0;
    groups.forEach((w, g) => {
      let sum = 0;
      for (const v of w) {
        const q = limit(roundEven(v * density[g]! + zero[g]!), 0, top);
        const error = v - (q - zero[g]!) / density[g]!;
        const kept = Math.max(Math.abs(error) - Math.abs(error) ** -0.3 / beta, 0);
        sum += q - (v - Math.sign(error) * kept) * density[g]!;
        size += Math.abs(error);
      }
      zero[g] = sum / w.length;
    });
    beta *= 1.01;
    if (size / x.length >= best) break;
    best = size / x.length;
  }
  const half = (v: number): number => fromHalf(toHalf(f(v)));
  const y = Float32Array.from(x, (v, at) => {
    const [g] = member(at, n, k, o);
    const scale = half(1 / density[g]!);
    const z = half(zero[g]!);
    return (limit(roundEven(f(f(v / scale) + z)), 0, top) - z) * scale;
  });
  return { zero, density, y };
}
