// The kernels that a model calls, as ops/llama.ts exports them, and the choice between the variant for encoded
// weights and the one for plain f32.
import { type LoadOptions, load } from '../load.ts';
import { type DeviceTensor, EncodedTensor, type HostTensor } from '../tensor.ts';

/** A matrix: in a format, or plain f32. */
export type Weight = DeviceTensor | EncodedTensor;
/** What activations are before they meet encoded weights: see ops/llama.ts. */
export type Activations = 'f32' | 'q8';
type Ids = DeviceTensor | HostTensor;
type Result = Promise<DeviceTensor>;

/** Exports of ops/llama.ts. */
interface Exports {
  rmsnorm(x: DeviceTensor, w: DeviceTensor, eps: number): Result;
  ropeKeys(x: DeviceTensor, start: number, headDim: number, theta: number): Result;
  ropeQueries(
    x: DeviceTensor,
    start: number,
    headDim: number,
    groups: number,
    theta: number,
  ): Result;
  attention(
    q: DeviceTensor,
    k: DeviceTensor,
    v: DeviceTensor,
    start: number,
    headDim: number,
  ): Result;
  layerIn(
    x: DeviceTensor,
    norm: DeviceTensor,
    wq: EncodedTensor,
    wk: EncodedTensor,
    wv: EncodedTensor,
    start: number,
    eps: number,
    headDim: number,
    groups: number,
    theta: number,
    activations: Activations,
  ): Promise<{ q: DeviceTensor; k: DeviceTensor; v: DeviceTensor }>;
  layerOut(
    mixed: DeviceTensor,
    x: DeviceTensor,
    wo: EncodedTensor,
    norm: DeviceTensor,
    gate: EncodedTensor,
    up: EncodedTensor,
    down: EncodedTensor,
    eps: number,
    activations: Activations,
  ): Result;
  linear(x: DeviceTensor, w: EncodedTensor, activations: Activations): Result;
  linearPlain(x: DeviceTensor, w: DeviceTensor): Result;
  linearAdd(x: DeviceTensor, w: EncodedTensor, r: DeviceTensor, a: Activations): Result;
  linearAddPlain(x: DeviceTensor, w: DeviceTensor, r: DeviceTensor): Result;
  swiglu(x: DeviceTensor, gate: EncodedTensor, up: EncodedTensor, a: Activations): Result;
  swigluPlain(x: DeviceTensor, gate: DeviceTensor, up: DeviceTensor): Result;
  gated(gate: DeviceTensor, up: DeviceTensor): Result;
  embed(table: EncodedTensor, ids: Ids): Result;
  embedPlain(table: DeviceTensor, ids: Ids): Result;
  crossEntropy(logits: DeviceTensor, target: Ids): Result;
  greedy(logits: DeviceTensor): Result;
  lastRow(x: DeviceTensor): Result;
}

type Same =
  | 'rmsnorm'
  | 'ropeKeys'
  | 'ropeQueries'
  | 'attention'
  | 'crossEntropy'
  | 'greedy'
  | 'lastRow';

/** The layers of a model, whatever its weights are stored in. */
export interface Layers extends Pick<Exports, Same> {
  linear(x: DeviceTensor, w: Weight): Result;
  linearAdd(x: DeviceTensor, w: Weight, r: DeviceTensor): Result;
  swiglu(x: DeviceTensor, gate: Weight, up: Weight): Result;
  embed(table: Weight, ids: Ids): Result;
  /** A layer whose weights are all encoded, in two calls. */
  readonly whole: WholeLayer;
}

/** As the exports, but for the last argument, which is the model's choice. */
interface WholeLayer {
  layerIn(...args: Leading<Parameters<Exports['layerIn']>>): ReturnType<Exports['layerIn']>;
  layerOut(...args: Leading<Parameters<Exports['layerOut']>>): Result;
}
type Leading<A extends readonly unknown[]> = A extends [...infer Rest, Activations] ? Rest : never;

const encoded = (w: Weight): w is EncodedTensor => w instanceof EncodedTensor;

export async function loadLayers(
  options: LoadOptions,
  activations: Activations = 'f32',
): Promise<Layers> {
  const k = (await load('quern/llama', options)) as unknown as Exports;
  const linear = (x: DeviceTensor, w: Weight) =>
    encoded(w) ? k.linear(x, w, activations) : k.linearPlain(x, w);
  return {
    whole: {
      layerIn: (...args) => k.layerIn(...args, activations),
      layerOut: (...args) => k.layerOut(...args, activations),
    },
    rmsnorm: k.rmsnorm,
    ropeKeys: k.ropeKeys,
    ropeQueries: k.ropeQueries,
    attention: k.attention,
    crossEntropy: k.crossEntropy,
    greedy: k.greedy,
    lastRow: k.lastRow,
    linear,
    linearAdd: (x, w, r) =>
      encoded(w) ? k.linearAdd(x, w, r, activations) : k.linearAddPlain(x, w, r),
    async swiglu(x, gate, up) {
      if (encoded(gate) && encoded(up)) return k.swiglu(x, gate, up, activations);
      if (!encoded(gate) && !encoded(up)) return k.swigluPlain(x, gate, up);
      return k.gated(await linear(x, gate), await linear(x, up));
    },
    embed: (table, ids) => (encoded(table) ? k.embed(table, ids) : k.embedPlain(table, ids)),
  };
}
