// Encoding f32 matrices, streaming: GB/s of the input against what the engine can read.

import { array, load } from '../../index.ts';
import { unpack } from '../../runtime/pack.ts';
import { type Context, contest, copiesFor, type Entrant, type Expected } from '../contest.ts';
import { noise } from '../measure.ts';
import { BLOCK } from '../product.ts';
import { handEncode } from '../subjects/hand.ts';
import { readLimit } from '../subjects/limits.ts';
import { denseCopies, finish, Quern } from '../subjects/quern.ts';

export const encodeFormats = [
  'q8_0',
  'q4_0',
  'nf4',
  'q4_1',
  'mxfp4',
  'nvfp4',
  'q4_K',
  'q6_K',
  'iq4_nl',
];

const COLUMNS = 4096;
/** Rows that are held against the reference interpreter. */
const CHECKED = 2;

export async function encodeCases(context: Context): Promise<void> {
  const names = encodeFormats.filter((f) => context.wants(`encode ${f}`));
  if (names.length === 0) return;
  const rows = context.quick ? 64 : 1024;
  const input = noise(rows * COLUMNS);
  const quern = await Quern.open();
  const first = quern.tensor(input, [rows, COLUMNS]);
  const inputs = await denseCopies(first, copiesFor(context, first.bytes));
  for (const name of names) {
    const own: Entrant = {
      column: 'quern',
      make: async () => {
        const format = await quern.format({ name });
        const plan = (copy: number) => format.encode(inputs.list[copy]!);
        return {
          what: name,
          copies: inputs.list.length,
          bytes: first.bytes,
          run: (copy) => plan(copy).then(finish),
          check: {
            result: async () => {
              const w = await plan(0);
              const decoded = await format.decode(w);
              const found = lost(input, (await decoded.data()) as Float32Array);
              for (const t of [w, decoded]) t.dispose();
              return [found];
            },
            expected: await meant(name, input),
            tolerance: 0.01,
          },
          dispose: () => {},
        };
      },
    };
    const hand = handKinds[name];
    const written = hand
      ? [
          handEncode(
            hand.kind,
            input,
            (b) => copiesFor(context, b),
            hand.decode,
            same(input),
            hand.step,
          ),
        ]
      : [];
    await contest(context, `encode ${name}`, [own, ...written, readLimit(context.coldBytes)]);
  }
  inputs.dispose();
}

/**
 * What the interpreter loses. Encoders that search may settle ties in another way, as they sum in another order: codes are
 * compared in the tests, here it is the error.
 */
async function meant(name: string, input: Float32Array): Promise<Expected> {
  const library = await load('quern/formats', { device: 'reference', cache: false });
  const format = library.format(name);
  const x = array(input.subarray(0, CHECKED * COLUMNS), [CHECKED, COLUMNS]);
  const decoded = await format.decode(await format.encode(x));
  return { at: [0], values: [lost(input, (await decoded.data()) as Float32Array)] };
}

/** Root mean square of the error in the first rows. */
function lost(input: Float32Array, decoded: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < CHECKED * COLUMNS; i += 1) sum += (input[i]! - decoded[i]!) ** 2;
  return Math.sqrt(sum / (CHECKED * COLUMNS));
}

const same = (input: Float32Array): Expected => {
  const at = Array.from({ length: 256 }, (_, i) => (i * 104729) % input.length);
  return { at, values: at.map((i) => input[i]!) };
};

/** The 16 levels of nf4 to four digits, for a kernel of nearest levels. */
const levels = [
  -1, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0, 0.0796, 0.1609, 0.2461, 0.3379,
  0.4407, 0.5626, 0.723, 1,
].map((v) => v * 127);
const thresholds = levels.slice(1).map((v, i) => Math.floor((v + levels[i]!) / 2));

interface HandKind {
  readonly kind: Parameters<typeof handEncode>[0];
  decode(blocks: Uint8Array): Float32Array;
  /** What a number may change, as a share of the root mean square of the input. */
  readonly step: number;
}
const handKinds: { readonly [name: string]: HandKind } = {
  q8_0: {
    kind: 'q8_0',
    decode: (b) => decodeBlocks(b, 34, (d, at) => d * ((b[at]! << 24) >> 24)),
    step: 0.01,
  },
  q4_0: { kind: 'q4_0', decode: (b) => halves(b, (q, d) => (q - 8) * d), step: 0.23 },
  nf4: {
    kind: { levels: thresholds },
    decode: (b) => halves(b, (q, d) => levels[q]! * d),
    step: 0.28,
  },
};

/** Blocks of an f16 scale and 32 codes, byte by byte. */
function decodeBlocks(
  blocks: Uint8Array,
  bytes: number,
  value: (scale: number, at: number, i: number) => number,
): Float32Array {
  const count = blocks.length / bytes;
  const out = new Float32Array(count * BLOCK);
  for (let b = 0; b < count; b += 1) {
    const at = b * bytes;
    const scale = unpack('f16', [1], blocks.slice(at, at + 2))[0] as number;
    for (let i = 0; i < BLOCK; i += 1)
      out[b * BLOCK + i] = value(scale, at + 2 + (bytes === 34 ? i : i % 16), i);
  }
  return out;
}

/** The same with two codes a byte, the low halves first. */
const halves = (blocks: Uint8Array, value: (code: number, scale: number) => number): Float32Array =>
  decodeBlocks(blocks, 18, (d, at, i) => value((blocks[at]! >> (i < 16 ? 0 : 4)) & 15, d));
