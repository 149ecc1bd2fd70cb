// One token's attention over a long context, with keys and values encoded as KIVI does: keys in groups along the tokens of a channel,
// values in groups along the channels of a token, on both roads: f32 throughout, and with queries and weights rounded to 8 bits;
// against the same kernel on f32.

import type { DeviceTensor } from '../../index.ts';
import { type Context, contest, copiesFor, type Entrant, type Expected } from '../contest.ts';
import { noise } from '../measure.ts';
import { tolerances } from '../product.ts';
import {
  type Copies,
  denseCopies,
  encodedCopies,
  type FormatName,
  finish,
  Quern,
} from '../subjects/quern.ts';

/** Of a model with 8 key-value heads of 128, each shared by so many query heads: 4, or one as in the models of KIVI's authors. */
export const attentionGroups = [4, 1] as const;
const HEADS = 8;
const HEAD = 128;
const WIDTH = HEADS * HEAD;
/** A cache of several layers; more copies would only lengthen the warm-up. */
const MOST_COPIES = 6;

export const attentionBits = [4, 2];

/** What the cases of a cache and of a number of query heads to each of its heads start with. */
export const attentionCase = (bits: number, groups: number): string =>
  `attention ${bits}-bit cache, ${groups === 1 ? '1 query' : `${groups} queries`} a head,`;

export async function attentionCases(context: Context): Promise<void> {
  for (const groups of attentionGroups) await casesOf(context, groups);
}

async function casesOf(context: Context, groups: number): Promise<void> {
  const slots = context.quick ? 512 : 8192;
  const name = (bits: number): string => `${attentionCase(bits, groups)} ${slots} tokens`;
  const wanted = attentionBits.filter((bits) => context.wants(name(bits)));
  if (wanted.length === 0) return;
  const quern = await Quern.open();
  const q = quern.tensor(noise(groups * WIDTH, 3), [groups, WIDTH]);
  const [k, v] = [noise(WIDTH * slots, 4), noise(WIDTH * slots, 5)];
  const keys = quern.tensor(k, [WIDTH, slots]);
  const values = quern.tensor(v, [slots, WIDTH]);
  const count = (bytes: number): number => Math.min(MOST_COPIES, copiesFor(context, 2 * bytes));
  const query = (await q.data()) as Float32Array;

  const pair = async <T extends { readonly bytes: number }>(
    what: string,
    a: Copies<T>,
    b: Copies<T>,
    call: (k: T, v: T) => Promise<unknown>,
    expected: Expected,
    tolerance: number = 1e-3,
  ) => ({
    what,
    copies: Math.min(a.list.length, b.list.length),
    bytes: a.bytes + b.bytes,
    run: (copy: number) => call(a.list[copy]!, b.list[copy]!).then(finish),
    check: {
      result: async () => {
        const y = (await call(a.list[0]!, b.list[0]!)) as DeviceTensor;
        const data = (await y.data()) as Float32Array;
        y.dispose();
        return data;
      },
      expected,
      tolerance,
    },
    dispose: () => {
      a.dispose();
      b.dispose();
    },
  });
  const dense: Entrant = {
    column: 'dense',
    make: async () => {
      // The candidate takes over what it is given: the f32 tensors are needed again.
      const copyOf = async (data: Float32Array, shape: number[]) =>
        denseCopies(quern.tensor(data, shape), count(data.byteLength));
      const [a, b] = [await copyOf(k, [WIDTH, slots]), await copyOf(v, [slots, WIDTH])];
      const call = (x: DeviceTensor, y: DeviceTensor) => quern.kernels.attention(q, x, y, HEAD);
      return pair('f32 cache', a, b, call, attended(query, k, v, slots, groups));
    },
  };
  for (const bits of wanted) {
    const format: FormatName = { name: 'uniform', args: [{ bits, group: 32 }] };
    const road = (column: 'q8' | 'f32'): Entrant => ({
      column,
      make: async () => {
        const f = await quern.format(format);
        const read = async (w: Awaited<ReturnType<typeof f.encode>>): Promise<Float32Array> => {
          const t = await f.decode(w);
          const data = (await t.data()) as Float32Array;
          t.dispose();
          return data;
        };
        const [ke, ve] = [await f.encode(keys), await f.encode(values)];
        const expected = attended(query, await read(ke), await read(ve), slots, groups);
        const n = count(ke.bytes);
        const kernel = quern.kernels[column === 'q8' ? 'attentionQ8' : 'attentionEncoded'];
        const call = (x: typeof ke, y: typeof ke) => kernel(q, x, y, HEAD);
        const what = `uniform, ${bits} bits, groups of 32`;
        const copies = [await encodedCopies(ke, n), await encodedCopies(ve, n)] as const;
        return pair(what, ...copies, call, expected, column === 'q8' ? tolerances.q8 : undefined);
      },
    });
    await contest(context, name(bits), [road('q8'), road('f32'), dense]);
  }
}

/** The attention of one key-value head, in f64: all its query heads and channels. */
function attended(
  q: Float32Array,
  k: Float32Array,
  v: Float32Array,
  slots: number,
  groups: number,
): Expected {
  const at: number[] = [];
  const values: number[] = [];
  const head = HEADS - 1;
  for (let g = 0; g < groups; g += 1) {
    const row = g * WIDTH + head * HEAD;
    const scores = Float64Array.from({ length: slots }, (_, s) => {
      let sum = 0;
      for (let d = 0; d < HEAD; d += 1) sum += q[row + d]! * k[(head * HEAD + d) * slots + s]!;
      return sum / Math.sqrt(HEAD);
    });
    const top = scores.reduce((a, b) => Math.max(a, b));
    const weights = scores.map((s) => Math.exp(s - top));
    const total = weights.reduce((a, b) => a + b);
    for (let d = 0; d < HEAD; d += 1) {
      let sum = 0;
      for (let s = 0; s < slots; s += 1) sum += weights[s]! * v[s * WIDTH + head * HEAD + d]!;
      at.push(row + d);
      values.push(sum / total);
    }
  }
  return { at, values };
}
