// Tensors of a generated package: an address in its memory, with a dtype and a shape. They live until dispose();
// what is forgotten is freed when the garbage collector finds it.
import { type DType, dtypes } from '../../compiler/ir/dtype.ts';
import {
  firstMisfit,
  fitting,
  isPlain,
  type LogicalArray,
  logicalArrayType,
  type NumberArray,
  naturalDType,
  packLogical,
  storageBytes,
  unpack,
} from '../../runtime/pack.ts';
import { listText, raise } from './errors.ts';
import { bytesAt, type Read, readAt, release, reserve, writeAt } from './memory.ts';

/** Data of the caller: what a call may take in place of a tensor. */
export interface HostTensor {
  readonly data: NumberArray;
  readonly shape: readonly number[];
}

interface Hold {
  readonly address: number;
  live: boolean;
  /** Number of what the memory holds: other contents, another number. */
  contents: number;
  /** Copies in layouts that kernels want, by name, and the contents that they were made of. */
  readonly copies: Map<string, { readonly of: string; readonly address: number }>;
  /** Whether half floats are all zero or normal, once known. */
  normal?: boolean | undefined;
}
function letGo(hold: Hold): void {
  if (!hold.live) return;
  hold.live = false;
  release(hold.address);
  forget(hold);
}
let nextContents = 1;
/** What was derived from the contents is no longer true of them. */
function forget(hold: Hold): void {
  hold.normal = undefined;
  hold.contents = nextContents++;
  for (const { address } of hold.copies.values()) release(address);
  hold.copies.clear();
}
const collected = new FinalizationRegistry<Hold>(letGo);

export const countOf = (shape: readonly number[]): number => shape.reduce((p, n) => p * n, 1);

/** Fails unless `shape` is one and the data fills it. */
export function checkHost(data: NumberArray, shape: readonly number[], where: string): void {
  if (!Array.isArray(shape) || !shape.every((n) => Number.isSafeInteger(n) && n >= 0))
    raise('Q5009', `${where}: a shape is a list of whole numbers, found ${String(shape)}`);
  const wanted = countOf(shape);
  if (data.length !== wanted)
    raise('Q5008', `${where}: ${data.length} elements do not fill ${listText(shape)}, ${wanted}`);
}

export class Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Bytes in storage. */
  readonly bytes: number;
  readonly #hold: Hold;

  /** An uninitialised tensor; `tensor()` and kernels make those with values. */
  constructor(dtype: DType, shape: readonly number[]) {
    this.dtype = dtype;
    this.shape = shape;
    this.bytes = storageBytes(dtype, shape);
    this.#hold = {
      address: reserve(this.bytes),
      live: true,
      contents: nextContents++,
      copies: new Map(),
    };
    collected.register(this, this.#hold, this);
  }

  get disposed(): boolean {
    return !this.#hold.live;
  }

  /** Where it lies in the memory; `use` says who asks, should it be gone. */
  address(use: string): number {
    if (!this.#hold.live)
      raise('Q5101', `${use}: the tensor ${this.dtype}${listText(this.shape)} was disposed`);
    return this.#hold.address;
  }

  /** The address for whoever writes there. */
  target(use: string): number {
    const address = this.address(use);
    forget(this.#hold);
    return address;
  }

  /** What the memory holds, as a number. */
  get contents(): number {
    return this.#hold.contents;
  }

  /** Address of a copy in another layout, `of` some contents; made when first asked for, and again when these change. */
  inLayout(layout: string, of: string, make: () => number): number {
    const { copies } = this.#hold;
    const known = copies.get(layout);
    if (known?.of === of) return known.address;
    const address = make();
    copies.set(layout, { of, address });
    if (known) release(known.address);
    return address;
  }

  /** Whether half floats are all zero or normal. */
  isNormal(): boolean {
    this.#hold.normal ??= areNormal(bytesAt(this.address('a kernel'), this.bytes));
    return this.#hold.normal;
  }

  /** Values, one entry an element; a copy. A promise where memory is not the host's own. */
  data(): Read<LogicalArray> {
    return this.#read('data()', (bytes) => unpack(this.dtype, this.shape, bytes));
  }

  /** Storage bytes; a copy. */
  raw(): Read<Uint8Array> {
    return this.#read('raw()', (bytes) => bytes.slice());
  }

  /**
   * The memory itself, for dtypes that are stored as typed arrays hold them. Valid until the next call or
   * allocation: memory may move when it grows.
   */
  view(): LogicalArray {
    if (!isPlain(this.dtype))
      raise('Q5003', `view(): ${this.dtype} is stored in another form; use data() or raw()`);
    const at = bytesAt(this.target('view()'), this.bytes);
    return new (logicalArrayType(this.dtype))(at.buffer, at.byteOffset, countOf(this.shape));
  }

  /** Replaces all values. Floats are rounded onto the dtype's grid; integers must fit. */
  set(data: NumberArray): this {
    fill(this, data, 'set()');
    return this;
  }

  /** Replaces the storage bytes. */
  writeRaw(bytes: Uint8Array): void {
    writeAt(this.target('writeRaw()'), this.bytes, (out) => out.set(bytes));
  }

  #read<T>(use: string, then: (bytes: Uint8Array) => T): Read<T> {
    return readAt(this.address(use), this.bytes, then);
  }

  dispose(): void {
    collected.unregister(this);
    letGo(this.#hold);
  }
}

function areNormal(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i += 2) {
    const exponent = bytes[i + 1]! & 0x7c;
    if (exponent === 0x7c || (exponent === 0 && (bytes[i]! | (bytes[i + 1]! & 3)) !== 0))
      return false;
  }
  return true;
}

/** Writes values into a tensor's storage. */
export function fill(t: Tensor, data: NumberArray, where: string): void {
  const misfit = firstMisfit(t.dtype, data);
  if (misfit !== undefined) {
    const { min, max } = dtypes[t.dtype];
    const range = `whole numbers from ${min} to ${max}`;
    raise('Q5014', `${where}: the value ${misfit} does not fit ${t.dtype}, which holds ${range}`);
  }
  checkHost(data, t.shape, where);
  writeAt(t.target(where), t.bytes, (out) =>
    packLogical(t.dtype, t.shape, fitting(t.dtype, data), out),
  );
}

/** A tensor in the memory of the package; its dtype is that of the array unless it is given. */
export function tensor(data: NumberArray, shape: readonly number[], dtype?: DType): Tensor {
  const into = dtype ?? naturalDType(data);
  if (!Object.hasOwn(dtypes, into)) raise('Q5003', `tensor(): there is no dtype ${into}`);
  checkHost(data, shape, 'tensor()');
  return filled(into, [...shape], data, 'tensor()');
}

export function filled(
  dtype: DType,
  shape: readonly number[],
  data: NumberArray,
  where: string,
): Tensor {
  const made = new Tensor(dtype, shape);
  try {
    fill(made, data, where);
  } catch (e) {
    made.dispose();
    throw e;
  }
  return made;
}

/** An uninitialised tensor for results: `linear(x, w, empty([1, 768]))`. */
export function empty(shape: readonly number[], dtype: DType = 'f32'): Tensor {
  if (!Object.hasOwn(dtypes, dtype)) raise('Q5003', `empty(): there is no dtype ${dtype}`);
  checkHost({ length: countOf(shape) } as NumberArray, shape, 'empty()');
  return new Tensor(dtype, [...shape]);
}

/** A tensor stored in a format: its fields, each a tensor. */
export class Encoded {
  readonly format: string;
  /** Logical shape, that of the decoded tensor. */
  readonly shape: readonly number[];
  readonly fields: { readonly [name: string]: Tensor };

  constructor(
    format: string,
    shape: readonly number[],
    fields: { readonly [name: string]: Tensor },
  ) {
    this.format = format;
    this.shape = shape;
    this.fields = fields;
  }

  get bytes(): number {
    return Object.values(this.fields).reduce((n, t) => n + t.bytes, 0);
  }
  get bitsPerWeight(): number {
    return (8 * this.bytes) / countOf(this.shape);
  }
  get disposed(): boolean {
    return Object.values(this.fields).some((t) => t.disposed);
  }
  dispose(): void {
    for (const t of Object.values(this.fields)) t.dispose();
  }
}
