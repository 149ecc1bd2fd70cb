// Weights of one shape as the cases share them: encoded once a format, in as many copies as cold runs need.

import type { DeviceTensor, EncodedTensor } from '../../index.ts';
import { type Context, copiesFor, type Expected } from '../contest.ts';
import { type Codes, mostRows, type Product, type Source } from '../product.ts';
import {
  type Copies,
  denseCopies,
  encodedCopies,
  type FormatName,
  type Quern,
} from '../subjects/quern.ts';

/** How to read a format's fields as codes and scales that other engines know. */
export interface PlainFields {
  readonly bits: 2 | 4 | 8;
  readonly codes: string;
  readonly scales: string;
  /** What is added to a code as stored to count from 0. */
  readonly offset?: number;
}

export interface Stored {
  readonly copies: Copies<EncodedTensor>;
  readonly meant: Float32Array;
  codes(fields: PlainFields): Promise<Codes>;
}

export class Weights {
  readonly product: Product;
  readonly #context: Context;
  readonly #quern: Quern;
  readonly #stored = new Map<string, Promise<Stored>>();
  #source: DeviceTensor | undefined;
  #dense: Promise<Copies<DeviceTensor>> | undefined;

  constructor(context: Context, quern: Quern, product: Product) {
    this.product = product;
    this.#context = context;
    this.#quern = quern;
  }

  get #onDevice(): DeviceTensor {
    const { weights, n, k } = this.product;
    this.#source ??= this.#quern.tensor(weights, [n, k]);
    return this.#source;
  }

  /** The weights as they are. */
  dense(): Promise<Copies<DeviceTensor>> {
    const bytes = this.#onDevice.bytes;
    this.#dense ??= denseCopies(this.#onDevice, copiesFor(this.#context, bytes));
    return this.#dense;
  }

  stored(format: FormatName): Promise<Stored> {
    const key = JSON.stringify(format);
    let made = this.#stored.get(key);
    if (!made) {
      made = this.#encode(format);
      this.#stored.set(key, made);
      made.catch(() => this.#stored.delete(key));
    }
    return made;
  }

  async #encode(name: FormatName): Promise<Stored> {
    const format = await this.#quern.format(name);
    const w = (await format.encode(this.#onDevice)) as EncodedTensor;
    const decoded = await format.decode(w);
    const meant = (await decoded.data()) as Float32Array;
    decoded.dispose();
    const copies = await encodedCopies(w, copiesFor(this.#context, w.bytes));
    let plain: Promise<Codes> | undefined;
    const codes = (fields: PlainFields): Promise<Codes> => {
      plain ??= plainCodes(w, fields, this.product);
      return plain;
    };
    return { copies, meant, codes };
  }

  async forget(format: FormatName): Promise<void> {
    const key = JSON.stringify(format);
    const made = this.#stored.get(key);
    this.#stored.delete(key);
    (await made?.catch(() => undefined))?.copies.dispose();
  }

  /** What peers are told of a case: copies at most as many as `most`. */
  source(meant: () => Promise<Float32Array>, most = Number.POSITIVE_INFINITY): Source {
    const known = new Map<number, Promise<Expected>>();
    return {
      product: this.product,
      copies: (bytes) => Math.min(most, copiesFor(this.#context, bytes)),
      expected: (m) => {
        if (m > mostRows) throw new Error(`at most ${mostRows} rows`);
        let made = known.get(m);
        made ??= meant().then((w) => this.product.expected(m, w));
        known.set(m, made);
        return made;
      },
    };
  }
}

async function plainCodes(w: EncodedTensor, f: PlainFields, { n, k }: Product): Promise<Codes> {
  const stored = (await w.fields[f.codes]!.data()) as Int32Array;
  const { offset = 0 } = f;
  const codes = offset ? stored.map((q) => q + offset) : stored;
  const scales = Float32Array.from((await w.fields[f.scales]!.data()) as Float32Array);
  const halves = new Uint16Array((await w.fields[f.scales]!.raw()).slice().buffer);
  return { n, k, bits: f.bits, codes, scales, halves };
}
