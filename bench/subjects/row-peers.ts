// Peers in what goes along rows: ONNX Runtime by models of one operator, and the operators of TensorFlow.js and jax-js. Each
// where it has the operator, on one thread.
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import type { Rows } from '../cases/rows.ts';
import type { Candidate, Entrant } from '../contest.ts';
import { type Attribute, type Constant, onnxGraph } from './onnx.ts';
import { openOrt, sessionOf } from './ort.ts';

const require = createRequire(import.meta.url);
type Numbers = ArrayLike<number>;

/** The operators of ONNX Runtime, the second axis reduced. */
interface OrtOperator {
  readonly type: string;
  readonly domain?: string;
  readonly attributes?: { readonly [name: string]: Attribute };
  /** Whether the axis comes as an operand. */
  readonly axis?: number;
  readonly gives?: 'i64';
}
const keep: { readonly [name: string]: Attribute } = { keepdims: { int: 0 } };
const ortOperators: { readonly [op: string]: OrtOperator } = {
  sum: { type: 'ReduceSum', attributes: keep, axis: 1 },
  amax: { type: 'ReduceMax', attributes: keep, axis: 1 },
  argmax: { type: 'ArgMax', attributes: { ...keep, axis: { int: 1 } }, gives: 'i64' },
  'column-sum': { type: 'ReduceSum', attributes: keep, axis: 0 },
  'column-amax': { type: 'ReduceMax', attributes: keep, axis: 0 },
  softmax: { type: 'Softmax', attributes: { axis: { int: 1 } } },
  'log-softmax': { type: 'LogSoftmax', attributes: { axis: { int: 1 } } },
  rmsnorm: { type: 'SimplifiedLayerNormalization', attributes: { epsilon: { float: 1e-5 } } },
  layernorm: { type: 'LayerNormalization', attributes: { epsilon: { float: 1e-5 } } },
  silu: { type: 'QuickGelu', domain: 'com.microsoft', attributes: { alpha: { float: 1 } } },
  gelu: { type: 'Gelu', attributes: { approximate: { text: 'tanh' } } },
  add: { type: 'Add' },
};

const ortWeb = (work: Rows, operator: OrtOperator): Entrant => ({
  column: 'ortWeb',
  make: async (): Promise<Candidate> => {
    const { op, rows, columns, x, others, bytes, expected } = work;
    const ort = await openOrt('ortWeb');
    const constants: Constant[] = others.map((data, i) => ({
      name: `C${i}`,
      type: 'f32',
      dims: data.length === rows * columns ? [rows, columns] : [data.length],
      data,
    }));
    if (operator.axis !== undefined)
      constants.push({
        name: 'axes',
        type: 'i64',
        dims: [1],
        data: BigInt64Array.of(BigInt(operator.axis)),
      });
    const dims = { all: [rows, columns], row: [rows], column: [columns] }[op.gives];
    const model = onnxGraph(
      {
        ...operator,
        inputs: ['X', ...constants.map((c) => c.name)],
        attributes: operator.attributes ?? {},
      },
      constants,
      [rows, columns],
      { type: operator.gives ?? 'f32', dims },
    );
    const session = await sessionOf(ort, 'ortWeb', model);
    // One input a copy: it is on the JavaScript side, and copied in by each call.
    const feeds = Array.from({ length: work.copies(x.byteLength) }, () => ({
      X: new ort.Tensor('float32', x.slice(), [rows, columns]),
    }));
    const run = async (copy: number): Promise<Numbers> => (await session.run(feeds[copy]!)).Y.data;
    return {
      what: operator.type,
      copies: feeds.length,
      bytes,
      run: (copy) => run(copy),
      check: {
        result: async () => Array.from(await run(0), Number),
        expected,
        tolerance: Math.max(op.tolerance, 1e-5),
      },
      dispose: () => void session.release(),
    };
  },
});

interface TfTensor {
  dataSync(): Numbers;
  dispose(): void;
}
type TfOperator = (x: TfTensor, others: readonly TfTensor[]) => TfTensor;
interface Tf {
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  tensor(data: Float32Array, shape: readonly number[]): TfTensor;
  tidy(f: () => TfTensor): TfTensor;
  sum(x: TfTensor, axis: number): TfTensor;
  max(x: TfTensor, axis: number): TfTensor;
  argMax(x: TfTensor, axis: number): TfTensor;
  softmax(x: TfTensor): TfTensor;
  logSoftmax(x: TfTensor): TfTensor;
  sigmoid(x: TfTensor): TfTensor;
  mul(a: TfTensor, b: TfTensor): TfTensor;
  add(a: TfTensor, b: TfTensor): TfTensor;
}
const tfOperators = (tf: Tf): { readonly [op: string]: TfOperator } => ({
  sum: (x) => tf.sum(x, 1),
  amax: (x) => tf.max(x, 1),
  argmax: (x) => tf.argMax(x, 1),
  'column-sum': (x) => tf.sum(x, 0),
  'column-amax': (x) => tf.max(x, 0),
  softmax: (x) => tf.softmax(x),
  'log-softmax': (x) => tf.logSoftmax(x),
  silu: (x) => tf.mul(x, tf.sigmoid(x)),
  add: (x, [y]) => tf.add(x, y!),
});

/** Results stay with the library, as Quern's do. */
const tfjs = (work: Rows): Entrant => ({
  column: 'tfjs',
  make: async (): Promise<Candidate> => {
    const tf = require('@tensorflow/tfjs-core') as Tf;
    const backend = require('@tensorflow/tfjs-backend-wasm') as {
      setWasmPaths(folder: string): void;
      setThreadsCount(count: number): void;
    };
    backend.setWasmPaths(`${dirname(require.resolve('@tensorflow/tfjs-backend-wasm'))}/`);
    backend.setThreadsCount(1);
    await tf.setBackend('wasm');
    await tf.ready();
    const { op, rows, columns, x, others, bytes, expected } = work;
    const count = work.copies(x.byteLength);
    const inputs = Array.from({ length: count }, () => tf.tensor(x, [rows, columns]));
    const rest = others.map((o) =>
      tf.tensor(o as Float32Array, o.length === rows * columns ? [rows, columns] : [o.length]),
    );
    const made = (copy: number): TfTensor =>
      tf.tidy(() => tfOperators(tf)[op.name]!(inputs[copy]!, rest));
    return {
      what: op.name,
      copies: count,
      bytes,
      run: (copy) => made(copy).dispose(),
      check: {
        result: async () => {
          const y = made(0);
          const data = y.dataSync();
          y.dispose();
          return data;
        },
        expected,
        tolerance: Math.max(op.tolerance, 1e-5),
      },
      dispose: () => [...inputs, ...rest].forEach((t) => t.dispose()),
    };
  },
});
const tfNames = new Set(Object.keys(tfOperators({} as Tf)));

/** Every use of a jax-js array gives it up; `ref` keeps it for another. */
interface JaxArray {
  readonly ref: JaxArray;
  reshape(shape: readonly number[]): JaxArray;
  data(): Promise<Numbers>;
  blockUntilReady(): Promise<JaxArray>;
  dispose(): void;
}
interface Jax {
  init(device: string): Promise<unknown>;
  defaultDevice(device: string): void;
  readonly numpy: {
    array(data: Float32Array): JaxArray;
    sum(x: JaxArray, axis: number): JaxArray;
    max(x: JaxArray, axis: number): JaxArray;
    argmax(x: JaxArray, axis: number): JaxArray;
    add(a: JaxArray, b: JaxArray): JaxArray;
  };
  readonly nn: {
    softmax(x: JaxArray, axis: number): JaxArray;
    logSoftmax(x: JaxArray, axis: number): JaxArray;
    silu(x: JaxArray): JaxArray;
    gelu(x: JaxArray): JaxArray;
  };
  jit(f: (...x: readonly JaxArray[]) => JaxArray): (...x: readonly JaxArray[]) => JaxArray;
}
const jaxOperators = ({
  numpy: np,
  nn,
}: Jax): { readonly [op: string]: (x: JaxArray, y: JaxArray) => JaxArray } => ({
  sum: (x) => np.sum(x, 1),
  amax: (x) => np.max(x, 1),
  argmax: (x) => np.argmax(x, 1),
  'column-sum': (x) => np.sum(x, 0),
  'column-amax': (x) => np.max(x, 0),
  softmax: (x) => nn.softmax(x, 1),
  'log-softmax': (x) => nn.logSoftmax(x, 1),
  silu: (x) => nn.silu(x),
  gelu: (x) => nn.gelu(x),
  add: (x, y) => np.add(x, y),
});
const jaxNames = new Set(Object.keys(jaxOperators({} as Jax)));

const jax = (work: Rows): Entrant => ({
  column: 'jax',
  make: async (): Promise<Candidate> => {
    const module: string = '@jax-js/jax';
    const library = (await import(module)) as Jax;
    await library.init('wasm');
    library.defaultDevice('wasm');
    const { op, rows, columns, x, others, bytes, expected } = work;
    const place = (data: Float32Array): JaxArray =>
      library.numpy.array(data).reshape([rows, columns]);
    const inputs = Array.from({ length: work.copies(x.byteLength) }, () => place(x));
    const rest = others.map((o) => place(o as Float32Array));
    const compiled = library.jit((...a) => jaxOperators(library)[op.name]!(a[0]!, a[1]!));
    const made = (copy: number): JaxArray => compiled(inputs[copy]!.ref, ...rest.map((r) => r.ref));
    return {
      what: op.name,
      copies: inputs.length,
      bytes,
      run: async (copy) => {
        (await made(copy).blockUntilReady()).dispose();
      },
      check: {
        result: () => made(0).data(),
        expected,
        tolerance: Math.max(op.tolerance, 1e-5),
      },
      dispose: () => [...inputs, ...rest].forEach((t) => t.dispose()),
    };
  },
});

export function rowPeers(work: Rows): readonly Entrant[] {
  const { name } = work.op;
  const operator = ortOperators[name];
  return [
    ...(operator ? [ortWeb(work, operator)] : []),
    ...(jaxNames.has(name) ? [jax(work)] : []),
    ...(tfNames.has(name) ? [tfjs(work)] : []),
  ];
}
