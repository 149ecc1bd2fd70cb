// Comparisons of the format tests, and the real weights they run on.
import { existsSync, readFileSync } from 'node:fs';
import * as assert from 'uvu/assert';

const bits = (x: Float32Array): Uint32Array => new Uint32Array(x.buffer, x.byteOffset, x.length);

/** Bit for bit, except that any NaN equals any NaN. */
export function sameFloats(found: Float32Array, expected: Float32Array, what: string): void {
  assert.is(found.length, expected.length, `${what}: length`);
  const a = bits(found);
  const b = bits(expected);
  for (let i = 0; i < a.length; i++)
    if (a[i] !== b[i] && !(Number.isNaN(found[i]) && Number.isNaN(expected[i])))
      assert.unreachable(
        `${what}: element ${i} is ${show(found[i]!)}, expected ${show(expected[i]!)}`,
      );
}
const show = (x: number): string => (Object.is(x, -0) ? '-0' : String(x));

/** Byte for byte; names the first block that differs. */
export function sameBlocks(
  found: Uint8Array,
  expected: Uint8Array,
  size: number,
  what: string,
): void {
  assert.is(found.length, expected.length, `${what}: length`);
  const at = found.findIndex((v, i) => v !== expected[i]);
  if (at < 0) return;
  const block = Math.floor(at / size);
  const part = (x: Uint8Array): string =>
    Buffer.from(x.subarray(block * size, (block + 1) * size)).toString('hex');
  assert.unreachable(
    `${what}: block ${block}, byte ${at % size}\n  found    ${part(found)}\n  expected ${part(expected)}`,
  );
}

/** Sum of squared errors relative to the sum of squares. */
export function relativeError(x: Float32Array, y: Float32Array): number {
  let error = 0;
  let power = 0;
  for (let i = 0; i < x.length; i++) {
    error += (x[i]! - y[i]!) ** 2;
    power += x[i]! ** 2;
  }
  return error / power;
}

const model = new URL('../../../shared/models/verse-4m/model.safetensors', import.meta.url);

/** A weight matrix of the small llama, or nothing where its file is absent. */
export function realWeights(name: string): { data: Float32Array; shape: number[] } | undefined {
  if (!existsSync(model)) return undefined;
  const file = readFileSync(model);
  const headerSize = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + headerSize));
  const { shape, data_offsets: range } = header[name];
  const start = file.byteOffset + 8 + headerSize;
  const data = new Float32Array(file.buffer.slice(start + range[0], start + range[1]));
  return { data, shape };
}
