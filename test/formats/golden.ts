// Encoders against ggml's own bytes, by digest: with and without importance weights.
import { createHash } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { harness } from './harness.ts';
import { all, columns, comparable, encoderInput } from './reference/ggml.ts';
import { golden } from './reference/golden.ts';
import { importance } from './samples.ts';

const digest = (x: Uint8Array): string => createHash('sha256').update(x).digest('hex');

/** Runs the tests of these types. */
export function testEncoders(title: string, names: readonly string[]): void {
  const test = suite(title);
  const device = harness('wasm');
  for (const name of names) {
    const { values } = all[name]!;
    const { encode, weighted } = golden[name]!;
    test(`${name}: encodes to ggml's bytes`, async () => {
      const h = await device;
      const x = encoderInput(name, false);
      const found = await h.encodeStruct(name, x, [x.length / values, values]);
      assert.is(digest(comparable(name, x, found)), encode);
    });
    if (weighted)
      test(`${name}: encodes to ggml's bytes with importance weights`, async () => {
        const h = await device;
        const x = encoderInput(name, true);
        const shape = [x.length / columns, columns];
        const found = await h.encodeStruct(name, x, shape, importance(9, columns));
        assert.is(digest(comparable(name, x, found)), weighted);
      });
    else
      test(`${name}: takes no importance weights`, async () => {
        const h = await device;
        const x = new Float32Array(columns);
        try {
          await h.encodeStruct(name, x, [1, columns], importance(9, columns));
          assert.unreachable('accepted');
        } catch (e) {
          assert.match((e as Error).message, /takes no importance weights/);
        }
      });
  }
  test.run();
}
