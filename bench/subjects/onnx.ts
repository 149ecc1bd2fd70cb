// Writes the ONNX models that the benchmarks run: one operator on constant operands. Just the messages of onnx.proto that those need,
// in the wire format of protocol buffers.

type Piece = Uint8Array;
const utf8 = new TextEncoder();

/** A base-128 number, low bits first; negative ones as 64-bit two's complement. */
function varint(value: number): Piece {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    out.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return Uint8Array.from(out);
}

function join(pieces: readonly Piece[]): Piece {
  const out = new Uint8Array(pieces.reduce((sum, p) => sum + p.length, 0));
  let at = 0;
  for (const p of pieces) {
    out.set(p, at);
    at += p.length;
  }
  return out;
}

const number = (field: number, value: number): Piece => join([varint(field << 3), varint(value)]);
const bytes = (field: number, value: Piece): Piece =>
  join([varint((field << 3) | 2), varint(value.length), value]);
const text = (field: number, value: string): Piece => bytes(field, utf8.encode(value));
const message = (field: number, ...pieces: Piece[]): Piece => bytes(field, join(pieces));

/** TensorProto.DataType */
export const onnxTypes = { f32: 1, u8: 2, i8: 3, i64: 7 } as const;
type OnnxType = keyof typeof onnxTypes;

export interface Constant {
  readonly name: string;
  readonly type: OnnxType;
  readonly dims: readonly number[];
  readonly data: ArrayBufferView;
}

export interface Operator {
  readonly type: string;
  /** The default domain if left out. */
  readonly domain?: string;
  readonly inputs: readonly string[];
  readonly attributes?: { readonly [name: string]: Attribute };
}

/** AttributeProto, in one of the types that it has. */
export type Attribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly text: string };
function attribute(name: string, value: Attribute): Piece {
  if ('int' in value) return message(5, text(1, name), number(3, value.int), number(20, 2));
  if ('text' in value) return message(5, text(1, name), text(4, value.text), number(20, 3));
  const bits = new Uint8Array(Float32Array.of(value.float).buffer);
  return message(5, text(1, name), join([varint((2 << 3) | 5), bits]), number(20, 1));
}

const constant = ({ name, type, dims, data }: Constant): Piece =>
  message(
    5,
    ...dims.map((d) => number(1, d)),
    number(2, onnxTypes[type]),
    text(8, name),
    bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength)),
  );

/** A graph input or output; a string is a dimension that is known only when the model runs. */
interface Port {
  readonly type: OnnxType;
  readonly dims: readonly (number | string)[];
}
function value(field: number, name: string, { type, dims }: Port): Piece {
  const shape = dims.map((d) => message(1, typeof d === 'string' ? text(2, d) : number(1, d)));
  const tensor = message(1, number(1, onnxTypes[type]), message(2, ...shape));
  return message(field, text(1, name), message(2, tensor));
}

/** The input is X [M, K], the output Y [M, N]. */
export const onnxModel = (
  operator: Operator,
  constants: readonly Constant[],
  k: number,
  n: number,
): Uint8Array => onnxGraph(operator, constants, ['M', k], { type: 'f32', dims: ['M', n] });

/** One operator from the input X (f32) and constants to the output Y. */
export function onnxGraph(
  operator: Operator,
  constants: readonly Constant[],
  x: Port['dims'],
  y: Port,
): Uint8Array {
  const { type, domain = '', inputs, attributes = {} } = operator;
  const node = message(
    1,
    ...inputs.map((i) => text(1, i)),
    text(2, 'Y'),
    text(3, 'only'),
    text(4, type),
    ...Object.entries(attributes).map(([name, v]) => attribute(name, v)),
    text(7, domain),
  );
  const graph = [node, text(2, 'bench'), ...constants.map(constant)];
  graph.push(value(11, 'X', { type: 'f32', dims: x }), value(12, 'Y', y));
  const opset = (name: string, version: number): Piece =>
    message(8, text(1, name), number(2, version));
  return join([number(1, 10), opset('', 21), opset('com.microsoft', 1), message(7, ...graph)]);
}
