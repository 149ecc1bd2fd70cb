// ONNX Runtime, in its WebAssembly build for browsers and its native build for Node: the same format by MatMulNBits, the classic int8
// path by DynamicQuantizeMatMul, and f32 by MatMul. One thread, one session a copy of the weights.
import type { Candidate, Entrant, Expected } from '../contest.ts';
import {
  BLOCK,
  type Codes,
  type Product,
  perChannel,
  type Source,
  tolerances,
  transpose,
} from '../product.ts';
import { type Constant, type Operator, onnxModel } from './onnx.ts';

interface OrtTensor {
  readonly data: ArrayLike<number>;
}
export interface Session {
  run(feeds: { X: OrtTensor }): Promise<{ readonly Y: OrtTensor }>;
  release(): Promise<void>;
}
export interface Ort {
  readonly env: { logLevel: string; wasm: { numThreads: number; proxy: boolean } };
  readonly InferenceSession: {
    create(model: Uint8Array, options: { readonly [name: string]: unknown }): Promise<Session>;
  };
  readonly Tensor: new (type: string, data: Float32Array, dims: readonly number[]) => OrtTensor;
}

const builds = {
  ortWeb: { module: 'onnxruntime-web', provider: 'wasm' },
  ortWeb8: { module: 'onnxruntime-web', provider: 'wasm' },
  ortNode: { module: 'onnxruntime-node', provider: 'cpu' },
} as const;
export type OrtColumn = keyof typeof builds;

export async function openOrt(column: OrtColumn): Promise<Ort> {
  const { module } = builds[column];
  const loaded = (await import(module)) as Partial<Ort> & { default?: Ort };
  const ort = (loaded.InferenceSession ? loaded : loaded.default) as Ort;
  if (column !== 'ortNode') {
    ort.env.wasm.numThreads = 1;
    ort.env.wasm.proxy = false;
  }
  ort.env.logLevel = 'error';
  return ort;
}

interface Model {
  readonly what: string;
  readonly operator: Operator;
  readonly constants: readonly Constant[];
  /** Bytes of the weights. */
  readonly bytes: number;
  readonly expected: Expected;
  readonly tolerance: number;
}

/** Calls above this are bound by arithmetic: a few copies of the weights are enough. */
const SLOW_MS = 25;

/** A session on one thread. */
export async function sessionOf(ort: Ort, column: OrtColumn, model: Uint8Array): Promise<Session> {
  const host = globalThis as { Worker?: unknown };
  const before = host.Worker;
  const session = await ort.InferenceSession.create(model, {
    executionProviders: [builds[column].provider],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
  });
  // The web build leaves a global Worker behind in Node, by which other libraries believe to be in a browser.
  host.Worker = before;
  return session;
}

async function candidate(
  column: OrtColumn,
  source: Source,
  m: number,
  model: Model,
): Promise<Candidate> {
  const ort = await openOrt(column);
  const { product: p } = source;
  const bytes = onnxModel(model.operator, model.constants, p.k, p.n);
  const create = (): Promise<Session> => sessionOf(ort, column, bytes);
  const sessions = [await create()];
  const feeds = { X: new ort.Tensor('float32', p.x(m), [m, p.k]) };
  await sessions[0]!.run(feeds);
  const start = performance.now();
  await sessions[0]!.run(feeds);
  const slow = performance.now() - start > SLOW_MS;
  const count = slow ? 2 : source.copies(model.bytes);
  while (sessions.length < count) sessions.push(await create());
  return {
    what: model.what,
    copies: sessions.length,
    bytes: model.bytes,
    ops: p.ops(m),
    run: async (copy) => {
      await sessions[copy]!.run(feeds);
    },
    check: {
      result: async () => (await sessions[0]!.run(feeds)).Y.data,
      expected: model.expected,
      tolerance: model.tolerance,
    },
    dispose: () => sessions.forEach((s) => void s.release()),
  };
}

/** Codes as MatMulNBits stores them: around a zero point of half the range, packed from the low bits of each byte up. */
export function packedCodes({ codes, bits }: Codes): Uint8Array {
  if (bits === 8) return Uint8Array.from({ length: codes.length }, (_, i) => codes[i]! + 128);
  const each = 8 / bits;
  const out = new Uint8Array(codes.length / each);
  for (let i = 0; i < codes.length; i += 1)
    out[Math.floor(i / each)]! |= codes[i]! << ((i % each) * bits);
  return out;
}

/** The weights of the case in their own format, activations in 8 bits where the build can do that. */
export const ortSameFormat = (
  column: 'ortWeb' | 'ortNode',
  source: Source,
  m: number,
  codes: () => Promise<Codes>,
): Entrant => ({
  column,
  make: async () => {
    const c = await codes();
    const packed = packedCodes(c);
    const blocks = c.k / BLOCK;
    return candidate(column, source, m, {
      what: `MatMulNBits, ${c.bits} bits`,
      operator: {
        type: 'MatMulNBits',
        domain: 'com.microsoft',
        inputs: ['X', 'B', 'S'],
        attributes: {
          K: { int: c.k },
          N: { int: c.n },
          bits: { int: c.bits },
          block_size: { int: BLOCK },
          accuracy_level: { int: 4 },
        },
      },
      constants: [
        { name: 'B', type: 'u8', dims: [c.n, blocks, (BLOCK * c.bits) / 8], data: packed },
        { name: 'S', type: 'f32', dims: [c.n * blocks], data: c.scales },
      ],
      bytes: packed.length + c.scales.byteLength,
      expected: await source.expected(m),
      tolerance: tolerances.q8,
    });
  },
});

/** 8-bit weights with one scale an output, held against those weights. */
export const ortInt8 = (source: Source, m: number): Entrant => ({
  column: 'ortWeb8',
  make: async () => {
    const { product: p } = source;
    const { codes, scales } = int8Of(p);
    const meant = new Float32Array(p.n * p.k);
    for (let i = 0; i < meant.length; i += 1) meant[i] = codes[i]! * scales[Math.floor(i / p.k)]!;
    return candidate('ortWeb8', source, m, {
      what: 'DynamicQuantizeMatMul',
      operator: {
        type: 'DynamicQuantizeMatMul',
        domain: 'com.microsoft',
        inputs: ['X', 'B', 'S'],
      },
      constants: [
        { name: 'B', type: 'i8', dims: [p.k, p.n], data: transpose(codes, p.n, p.k) },
        { name: 'S', type: 'f32', dims: [p.n], data: scales },
      ],
      bytes: codes.length,
      expected: p.expected(m, meant),
      tolerance: tolerances.q8PerRow,
    });
  },
});

/** Of the product last asked about: several cases in a row multiply the same. */
let last: { readonly of: Product; readonly made: ReturnType<typeof perChannel> } | undefined;
function int8Of(p: Product): ReturnType<typeof perChannel> {
  if (last?.of !== p) last = { of: p, made: perChannel(p) };
  return last.made;
}

export const ortDense = (column: 'ortWeb' | 'ortNode', source: Source, m: number): Entrant => ({
  column,
  make: async () => {
    const { product: p } = source;
    return candidate(column, source, m, {
      what: 'MatMul, f32',
      operator: { type: 'MatMul', inputs: ['X', 'B'] },
      constants: [{ name: 'B', type: 'f32', dims: [p.k, p.n], data: p.transposed }],
      bytes: p.transposed.byteLength,
      expected: p.expected(m, p.weights),
      tolerance: tolerances.f32,
    });
  },
});
