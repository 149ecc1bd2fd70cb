// The small float types against an enumeration of their definition: the value of every code, and casts of every number
// that matters (each value, each midpoint, the f32 numbers beside them, the ends, seeded bit patterns).
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { load, scope } from '../../index.ts';
import { sameFloats } from './checks.ts';
import { bitsFloat, floatBits } from './reference/half.ts';
import { cast, definitions, encode, magnitudes, codeValue } from './reference/minifloat.ts';
import { integers } from './samples.ts';

const test = suite('minifloats');
const file = new URL('./casts.kernel.ts', import.meta.url);
type Kernel = (
  x: { data: object; shape: number[]; dtype?: string },
  name: string,
) => Promise<{
  data(): Promise<ArrayLike<number>>;
}>;
const devices = new Map<string, Promise<Record<string, Kernel>>>();

async function run(device: 'reference' | 'wasm', kernel: string, data: object, name: string) {
  if (!devices.has(device))
    devices.set(device, load(file, { device, cache: false }) as unknown as Promise<never>);
  const kernels = (await devices.get(device))!;
  let found: ArrayLike<number> = [];
  await scope(async () => {
    const { length } = data as ArrayLike<number>;
    const dtype = data instanceof Float32Array ? 'f32' : 'u16';
    found = await (await kernels[kernel]!({ data, shape: [length], dtype }, name)).data();
  });
  return found;
}

/** Numbers at which a cast may go wrong, of both signs, and `random` seeded f32 patterns. */
function inputs(name: string, random: number): Float32Array {
  const grid = magnitudes(definitions[name]!);
  const top = grid.at(-1)!;
  const step = top - grid.at(-2)!;
  const at = [...grid, top + step / 2, top + step, 3e38, Infinity, 2 ** -149, 2 ** -126];
  const points = at.flatMap((v, i) => (i > 0 && i < grid.length ? [v, (v + at[i - 1]!) / 2] : [v]));
  const near = points.flatMap((v) => {
    const bits = floatBits(v);
    return [v, bitsFloat(bits + 1), bits > 0 ? bitsFloat(bits - 1) : 0];
  });
  const next = integers(9);
  const patterns = Array.from({ length: random }, (_, i) =>
    // Half of them any pattern, half within the range of the type.
    i % 2 ? bitsFloat(next()) : (next() / 2 ** 31 - 1) * top * 1.1,
  );
  return Float32Array.from([...near, ...near.map((v) => -v), NaN, ...patterns]);
}

for (const device of ['reference', 'wasm'] as const)
  for (const [name, d] of Object.entries(definitions)) {
    const compare = (x: Float32Array, found: ArrayLike<number>, code: (v: number) => number) => {
      const nans = (c: number): number => (Number.isNaN(codeValue(d, c)) ? -1 : c);
      x.forEach((v, i) => {
        if (nans(found[i]!) !== nans(code(v)))
          assert.unreachable(`${name} of ${v}: code ${found[i]}, expected ${code(v)}`);
      });
    };
    test(`${name} on ${device}: the value of every code`, async () => {
      const codes = Uint16Array.from({ length: 2 << (d.exponent + d.mantissa) }, (_, c) => c);
      const found = await run(device, 'valuesOf', codes, name);
      sameFloats(
        Float32Array.from(found),
        Float32Array.from(codes, (c) => codeValue(d, c)),
        name,
      );
    });
    test(`${name} on ${device}: casts round to the nearest value, ties to even`, async () => {
      const x = inputs(name, device === 'wasm' ? 1 << 17 : 1 << 10);
      compare(x, await run(device, 'castTo', x, name), (v) => cast(d, v));
    });
    test(`${name} on ${device}: casts of limited numbers saturate`, async () => {
      const x = inputs(name, device === 'wasm' ? 1 << 15 : 1 << 10).filter((v) => !Number.isNaN(v));
      compare(x, await run(device, 'saturateTo', x, name), (v) => encode(d, v));
    });
  }

test.run();
