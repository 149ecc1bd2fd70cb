// The tests that every checkpoint format passes against its oracle, on the interpreter and on WASM.
import type { Test } from 'uvu';
import * as assert from 'uvu/assert';
import { sameBlocks, sameFloats } from './checks.ts';
import { type DeviceKind, type FormatCall, type Harness, harness } from './harness.ts';
import type { PlaneReference } from './reference/planes.ts';
import { adversarial, join, weights } from './samples.ts';

export interface PlaneCase {
  readonly format: FormatCall;
  readonly reference: PlaneReference;
  /** Rows and columns of the smaller matrix, for the interpreter; rows of the larger one. */
  readonly shape: readonly [number, number];
  readonly rows: number;
  /** Bits per weight of a matrix [4096, 4096], all fields counted. */
  readonly bits: number;
  /** Not on the interpreter: another case of the same factory runs there. */
  readonly onlyWasm?: boolean;
  /** Values so large or small that scales overflow or vanish; only where the oracle rounds alike. */
  readonly extreme?: boolean;
}

const devices: Partial<Record<DeviceKind, Promise<Harness>>> = {};
export const on = (kind: DeviceKind): Promise<Harness> => (devices[kind] ??= harness(kind));

export const nameOf = (f: FormatCall): string =>
  typeof f === 'string' ? f : `${f.name}(${JSON.stringify(f.options)})`;

/** A matrix with blocks at the edges of quantizers first, then weights. */
export function matrix(n: number, k: number, extreme: boolean): Float32Array {
  const edge = adversarial(1, 256, { extreme, repeats: 1 });
  return join(edge, weights(2, n * k)).slice(0, n * k);
}

export function planeTests(test: Test, cases: readonly PlaneCase[]): void {
  for (const { format, reference, shape, rows, bits, extreme = false, onlyWasm } of cases)
    for (const kind of ['reference', 'wasm'] as const) {
      if (onlyWasm && kind === 'reference') continue;
      const [n, k] = kind === 'wasm' ? [rows, shape[1]] : shape;
      const name = `${nameOf(format)} on ${kind}`;
      const same = (found: Readonly<Record<string, Uint8Array>>, expected: typeof found): void => {
        assert.equal(Object.keys(found).sort(), Object.keys(expected).sort());
        for (const [plane, b] of Object.entries(expected))
          sameBlocks(found[plane]!, b, 64, `${name}: ${plane}`);
      };
      test(`${name}: decodes random planes to the oracle's bits`, async () => {
        const planes = reference.random(n, k, 5, true);
        const found = await (await on(kind)).decodePlanes(format, planes, [n, k]);
        sameFloats(found, reference.decode(planes, n, k), name);
      });
      test(`${name}: packing what was unpacked gives the same planes`, async () => {
        const planes = reference.random(n, k, 6, false);
        same(await (await on(kind)).repackPlanes(format, planes, [n, k]), planes);
      });
      if (reference.encode)
        test(`${name}: encodes to the oracle's planes`, async () => {
          const x = matrix(n, k, extreme);
          same(await (await on(kind)).encodePlanes(format, x, [n, k]), reference.encode!(x, n, k));
        });
      if (kind === 'wasm')
        test(`${nameOf(format)}: takes the bits per weight of its planes`, async () => {
          const found = await (await on(kind)).bitsPerWeight(format, [4096, 4096]);
          assert.ok(Math.abs(found - bits) < 1e-9, `${found} bits, expected ${bits}`);
        });
    }
}
