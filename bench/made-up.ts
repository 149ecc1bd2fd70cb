// A format that exists nowhere else, written to a folder outside of the project when the benchmarks run: nobody can have tuned the
// compiler for it by name. 4-bit codes in blocks of 64, an f16 scale, and a zero point in quarters of a step.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const source = `
import { amax, amin, clamp, f16, f32, format, max, min, round, u4, u8 } from 'quern';
import type { Tensor } from 'quern';

export const quarters = format({
  block: 64,
  encode(x: Tensor<f32, [64]>) {
    const low = min(amin(x), 0);
    const s = f16((max(amax(x), 0) - low) / 15);
    const step = s === 0 ? 1 : f32(s);
    const z = clamp(round((-4 * low) / step), 0, 60);
    return { s, z: u8(z), q: u4(clamp(round(x / step + z / 4), 0, 15)) };
  },
  decode: ({ s, z, q }) => (4 * q - z) * (s * 0.25),
});
`;

export interface MadeUp {
  readonly file: string;
  readonly name: string;
  remove(): void;
}

export function madeUpFormat(): MadeUp {
  const folder = mkdtempSync(join(tmpdir(), 'quern-bench-'));
  const file = join(folder, 'made-up.ts');
  writeFileSync(file, source);
  return { file, name: 'quarters', remove: () => rmSync(folder, { recursive: true }) };
}
