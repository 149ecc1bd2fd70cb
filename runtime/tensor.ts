// Tensors on a device, and host data on its way there. Storage is shared and counted: a view and its source
// free the memory together, when the last of them is disposed.
import type { FormatRef } from '../compiler/artifact.ts';
import { type DType, dtypes } from '../compiler/ir/dtype.ts';
import { type Device, type DeviceBuffer, fill } from './devices/device.ts';
import { raise, shapeText } from './errors.ts';
import {
  type LogicalArray,
  type NumberArray,
  firstMisfit,
  naturalDType,
  packInto,
  storageBytes,
  unpack,
} from './pack.ts';
import { track, untrack } from './scope.ts';

/** Data of the host with a shape: what a call may take in place of a tensor on the device. */
export interface HostTensor {
  readonly data: NumberArray;
  readonly shape: readonly number[];
  /** Left out: the dtype of the parameter, which must be of the array's kind (float or integer). */
  readonly dtype?: DType;
}

export const elements = (shape: readonly number[]): number => shape.reduce((p, n) => p * n, 1);

export function checkShape(shape: readonly number[], where: string): void {
  if (!Array.isArray(shape) || !shape.every((n) => Number.isSafeInteger(n) && n >= 0))
    raise('Q5009', { where, found: Array.isArray(shape) ? shapeText(shape) : typeof shape });
}

export function checkHost(host: HostTensor, where: string): void {
  checkShape(host.shape, where);
  const expected = elements(host.shape);
  if (host.data.length !== expected)
    raise('Q5008', { where, found: host.data.length, expected, shape: shapeText(host.shape) });
}

/** Host data with a shape, checked; the dtype is that of the array unless it is given. */
export function array(data: NumberArray, shape?: readonly number[], dtype?: DType): HostTensor {
  const host = { data, shape: shape ?? [data.length], dtype: dtype ?? naturalDType(data) };
  checkHost(host, 'array()');
  return host;
}

let contents = 0;
const nextContents = (): number => {
  contents += 1;
  return contents;
};

/** A copy in another layout: of which shape, and what else it was made from. */
interface Remembered {
  readonly shape: readonly number[];
  readonly others: readonly number[];
  readonly copy: DeviceBuffer;
}
const equal = (a: readonly number[], b: readonly number[]): boolean => {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return a.length === b.length;
};

/** Memory on a device, shared by a tensor and its views. */
class Storage {
  readonly device: Device;
  readonly buffer: DeviceBuffer;
  #owners = 0;

  constructor(device: Device, buffer: DeviceBuffer) {
    this.device = device;
    this.buffer = buffer;
  }

  retain(): void {
    this.#owners++;
  }
  get shared(): boolean {
    return this.#owners > 1;
  }
  /** Leaves the memory to somebody else. */
  handOver(): void {
    this.#owners = 0;
    this.forgetCopies();
  }
  release(): void {
    if (--this.#owners > 0) return;
    this.device.free(this.buffer);
    this.forgetCopies();
  }

  /** What was derived from the contents is no longer true of them. */
  forgetCopies(): void {
    this.normal = undefined;
    this.contents = nextContents();
    if (!this.#copies) return;
    for (const copy of this.#copies.values()) void this.#drop(copy);
    this.#copies = undefined;
    this.remembered = undefined;
  }

  normal: boolean | undefined;
  /** A number for what the memory holds: another one after each write. */
  contents = nextContents();
  #copies: Map<string, DeviceBuffer | Promise<DeviceBuffer>> | undefined;
  /** Copies that are there, by what asks for them again and again. */
  remembered: Map<object, Remembered> | undefined;

  /** The contents in another layout, made when first asked for; lives as long as the memory itself. */
  inLayout(
    key: string,
    make: () => DeviceBuffer | Promise<DeviceBuffer>,
  ): DeviceBuffer | Promise<DeviceBuffer> {
    let copy = this.#copies?.get(key);
    if (copy) return copy;
    copy = make();
    this.#copies ??= new Map();
    this.#copies.set(key, copy);
    if (copy instanceof Promise) {
      const settle = (made?: DeviceBuffer): void => {
        if (this.#copies?.get(key) !== copy) return;
        if (made) this.#copies.set(key, made);
        else this.#copies.delete(key);
      };
      copy.then(settle, () => settle());
    }
    return copy;
  }

  async #drop(copy: DeviceBuffer | Promise<DeviceBuffer>): Promise<void> {
    try {
      this.device.free(await copy);
    } catch {
      // It was never made; whoever asked for it was told.
    }
  }
}

/** One tensor's hold on its storage; released by dispose or, as a safety net, by the garbage collector. */
interface Hold {
  readonly storage: Storage;
  live: boolean;
}
function letGo(hold: Hold): void {
  if (!hold.live) return;
  hold.live = false;
  hold.storage.release();
}
const collected = new FinalizationRegistry<Hold>(letGo);

export class DeviceTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: number;
  readonly #hold: Hold;

  private constructor(storage: Storage, dtype: DType, shape: readonly number[]) {
    this.dtype = dtype;
    this.shape = shape;
    this.bytes = storageBytes(dtype, shape);
    storage.retain();
    this.#hold = { storage, live: true };
    collected.register(this, this.#hold, this);
    track(this);
  }

  /** Takes ownership of a buffer that holds the storage bytes of the tensor. */
  static own(
    device: Device,
    buffer: DeviceBuffer,
    dtype: DType,
    shape: readonly number[],
  ): DeviceTensor {
    return new DeviceTensor(new Storage(device, buffer), dtype, shape);
  }

  /** An uninitialised tensor. */
  static empty(device: Device, dtype: DType, shape: readonly number[]): DeviceTensor {
    checkShape(shape, 'tensor');
    return DeviceTensor.own(device, device.allocate(storageBytes(dtype, shape)), dtype, shape);
  }

  /** Uploads logical values: floats are rounded onto the dtype's grid, integers must fit. */
  static from(
    device: Device,
    host: HostTensor,
    dtype = host.dtype ?? naturalDType(host.data),
  ): DeviceTensor {
    checkHost(host, 'tensor');
    const misfit = firstMisfit(dtype, host.data);
    if (misfit !== undefined) raise('Q5014', misfitFacts('tensor', 'data', misfit, dtype));
    const made = DeviceTensor.empty(device, dtype, host.shape);
    fill(device, made.buffer, 0, made.bytes, (out) => packInto(dtype, host.shape, host.data, out));
    return made;
  }

  /** Uploads storage bytes as they are. */
  static fromBytes(
    device: Device,
    bytes: Uint8Array,
    dtype: DType,
    shape: readonly number[],
  ): DeviceTensor {
    checkShape(shape, 'tensor');
    const expected = storageBytes(dtype, shape);
    if (bytes.length !== expected)
      raise('Q5105', {
        what: `the storage of ${dtype}${shapeText(shape)}`,
        found: `${bytes.length} bytes`,
        expected: `${expected} bytes`,
      });
    const made = DeviceTensor.empty(device, dtype, shape);
    device.write(made.buffer, 0, bytes);
    return made;
  }

  get device(): Device {
    return this.#hold.storage.device;
  }
  get disposed(): boolean {
    return !this.#hold.live;
  }
  /** The device memory, for calls of kernels. */
  get buffer(): DeviceBuffer {
    if (!this.#hold.live) this.#gone('a kernel');
    return this.#hold.storage.buffer;
  }

  /** Whether half floats are all zero or normal; found out once. Only where the host sees the memory, now or later. */
  isNormal(): boolean | Promise<boolean> {
    const { storage } = this.#hold;
    if (storage.normal === undefined) {
      const waiting = this.device.ready?.(this.buffer);
      if (waiting) return waiting.then(() => this.isNormal());
      storage.normal = this.#lookNormal();
    }
    return storage.normal;
  }
  #lookNormal(): boolean {
    const bytes = this.device.view?.(this.buffer, 0, 2 * elements(this.shape));
    if (!bytes) return false;
    const codes = new Uint16Array(bytes.buffer, bytes.byteOffset, elements(this.shape));
    for (const code of codes) {
      const exponent = code & 0x7c00;
      if (exponent === 0x7c00 || (exponent === 0 && (code & 0x3ff) !== 0)) return false;
    }
    return true;
  }

  /** Equal numbers are equal contents of the same memory. */
  get contents(): number {
    return this.#hold.storage.contents;
  }

  /** The contents in a layout that a kernel wants; `make` repacks them. */
  inLayout(
    layout: string,
    make: (buffer: DeviceBuffer) => DeviceBuffer | Promise<DeviceBuffer>,
  ): DeviceBuffer | Promise<DeviceBuffer> {
    const { buffer } = this;
    const key = `${layout} ${this.dtype}${shapeText(this.shape)}`;
    return this.#hold.storage.inLayout(key, () => make(buffer));
  }

  /** The copy that `rememberLayout` was told, if it is still what `who` wants of this tensor and the contents of others. */
  madeInLayout(who: object, others: readonly number[]): DeviceBuffer | undefined {
    const known = this.#hold.storage.remembered?.get(who);
    if (!known || !equal(known.others, others) || !equal(known.shape, this.shape)) return undefined;
    return known.copy;
  }

  rememberLayout(who: object, others: readonly number[], copy: DeviceBuffer): void {
    const { storage } = this.#hold;
    storage.remembered ??= new Map();
    storage.remembered.set(who, { shape: this.shape, others: [...others], copy });
  }

  #gone(use: string): never {
    raise('Q5101', { what: `a tensor ${this.dtype}${shapeText(this.shape)}`, use });
  }

  /** Logical values, one entry an element; a copy. */
  async data(): Promise<LogicalArray> {
    if (!this.#hold.live) this.#gone('data()');
    const { device, buffer } = this.#hold.storage;
    const waiting = device.ready?.(buffer);
    if (waiting) await waiting;
    const bytes =
      device.view?.(buffer, 0, this.bytes) ?? (await device.read(buffer, 0, this.bytes));
    return unpack(this.dtype, this.shape, bytes);
  }

  /** Storage bytes; a copy. */
  async raw(): Promise<Uint8Array> {
    if (!this.#hold.live) this.#gone('raw()');
    return this.device.read(this.#hold.storage.buffer, 0, this.bytes);
  }

  /** The first `rows` of axis 0, sharing memory: what is written to one shows in the other. */
  view(rows: number): DeviceTensor {
    if (!this.#hold.live) this.#gone('view()');
    const all = this.shape[0];
    if (all === undefined || !Number.isInteger(rows) || rows < 0 || rows > all)
      raise('Q5105', {
        what: `view(${rows}) of ${this.dtype}${shapeText(this.shape)}`,
        found: `${rows} rows`,
        expected: all === undefined ? 'a tensor of at least one axis' : `0 to ${all} rows`,
      });
    return new DeviceTensor(this.#hold.storage, this.dtype, [rows, ...this.shape.slice(1)]);
  }

  /** This tensor, or a copy of its first `rows` in memory of that size, in place of it. */
  cut(rows: number): DeviceTensor {
    const count = Math.max(0, Math.min(rows, this.shape[0] ?? 0));
    if (count === this.shape[0]) return this;
    const { device } = this;
    const made = DeviceTensor.empty(device, this.dtype, [count, ...this.shape.slice(1)]);
    device.copy(this.buffer, 0, made.buffer, 0, made.bytes);
    this.dispose();
    return made;
  }

  /** The same memory under another shape of as many elements. Rows of sub-byte dtypes must stay as they are. */
  reshape(shape: readonly number[]): DeviceTensor {
    if (!this.#hold.live) this.#gone('reshape()');
    checkShape(shape, 'reshape()');
    const padded = dtypes[this.dtype].bits % 8 !== 0;
    if (elements(shape) !== elements(this.shape) || (padded && shape.at(-1) !== this.shape.at(-1)))
      raise('Q5105', {
        what: `reshape of ${this.dtype}${shapeText(this.shape)}`,
        found: shapeText(shape),
        expected: padded ? 'as many elements and the same last axis' : 'as many elements',
      });
    return new DeviceTensor(this.#hold.storage, this.dtype, [...shape]);
  }

  /** Replaces whole rows of axis 0, from `rowOffset`, by logical values or by a tensor of the same dtype. */
  write(rowOffset: number, source: NumberArray | HostTensor | DeviceTensor): void {
    if (!this.#hold.live) this.#gone('write()');
    this.#hold.storage.forgetCopies();
    const rowShape = this.shape.slice(1);
    const width = elements(rowShape);
    const all = this.shape[0];
    const tensor = source instanceof DeviceTensor ? source : undefined;
    const data = source instanceof DeviceTensor ? [] : 'shape' in source ? source.data : source;
    const length = tensor ? elements(tensor.shape) : data.length;
    const rows = width === 0 ? 0 : length / width;
    const bits = dtypes[this.dtype].bits;
    const { device, buffer } = this.#hold.storage;
    const bad = (found: string, expected: string): never =>
      raise('Q5105', {
        what: `write(${rowOffset}, ...) into ${this.dtype}${shapeText(this.shape)}`,
        found,
        expected,
      });
    if (all === undefined) bad('a scalar', 'a tensor of at least one axis');
    if (!Number.isInteger(rows)) bad(`${length} elements`, `a multiple of ${width}, one row`);
    if (!Number.isInteger(rowOffset) || rowOffset < 0 || rowOffset + rows > all!)
      bad(`rows ${rowOffset} to ${rowOffset + rows}`, `rows within 0 to ${all}`);
    // Rows of a vector are single elements, and those below a byte share one with their neighbours.
    const split = rowShape.length === 0 && bits % 8 !== 0;
    if (split && (rowOffset % 8 !== 0 || (rows % 8 !== 0 && rowOffset + rows !== all)))
      bad(`elements ${rowOffset} to ${rowOffset + rows}`, 'whole bytes: multiples of 8 elements');
    const offset = split ? (rowOffset * bits) / 8 : rowOffset * storageBytes(this.dtype, rowShape);
    const shape = [rows, ...rowShape];
    const bytes = storageBytes(this.dtype, shape);
    if (tensor) {
      if (tensor.dtype !== this.dtype || tensor.bytes !== bytes || tensor.device !== device)
        bad(
          `${tensor.dtype}${shapeText(tensor.shape)} on ${tensor.device.name}`,
          `${this.dtype} rows of ${shapeText(rowShape)} on the same device`,
        );
      device.copy(tensor.buffer, 0, buffer, offset, bytes);
      return;
    }
    const misfit = firstMisfit(this.dtype, data);
    if (misfit !== undefined) raise('Q5014', misfitFacts('write()', 'data', misfit, this.dtype));
    fill(device, buffer, offset, bytes, (out) => packInto(this.dtype, shape, data, out));
  }

  /** Whether a view, or what this is a view of, holds the same memory. */
  get shared(): boolean {
    return this.#hold.storage.shared;
  }

  /** Ends this tensor's hold on its memory without freeing it: it is now another's, or already free. */
  handOver(): void {
    if (!this.#hold.live) return;
    collected.unregister(this);
    untrack(this);
    this.#hold.live = false;
    this.#hold.storage.handOver();
  }

  /** Frees the memory, unless a view still holds it. A second time does nothing. */
  dispose(): void {
    if (!this.#hold.live) return;
    collected.unregister(this);
    untrack(this);
    letGo(this.#hold);
  }
}

/** A tensor that the caller of a kernel gives up: see {@link give}. */
export class Given {
  readonly tensor: DeviceTensor;
  constructor(tensor: DeviceTensor) {
    this.tensor = tensor;
  }
}

/**
 * Gives a tensor up to the call that it is passed to, in place of the tensor: a result of its dtype and shape (one of the
 * same name, or else the first) is made where it lies, so that a cache or a state is updated without a copy. The tensor
 * cannot be used afterwards, whether the call could use its memory or not, and whether it succeeds or not. It must not
 * share its memory with a view, nor be passed twice. `cache = await append(give(cache), rows, length)`
 */
export const give = (tensor: DeviceTensor): Given => new Given(tensor);

export function misfitFacts(kernel: string, where: string, value: number, dtype: DType) {
  const { min, max } = dtypes[dtype];
  return { kernel, where, value, dtype, range: `whole numbers from ${min} to ${max}` };
}

/** Identity of a format: equal keys are the same format with the same options. */
export function formatKey(ref: FormatRef): string {
  const key = JSON.stringify(
    ref.args?.length ? [ref.file, ref.name, ref.args] : [ref.file, ref.name],
  );
  // One string object a format, which compares at once.
  const known = keys.get(key);
  if (known === undefined) keys.set(key, key);
  return known ?? key;
}
const keys = new Map<string, string>();

/** A format as an author would name it. */
export const formatText = (ref: FormatRef): string =>
  ref.args?.length ? `${ref.name}(${ref.args.map((a) => JSON.stringify(a)).join(', ')})` : ref.name;

/** A tensor stored in a format: its fields, each a tensor on the device. */
export class EncodedTensor {
  readonly format: FormatRef;
  readonly key: string;
  /** Logical shape, that of the decoded tensor. */
  readonly shape: readonly number[];
  readonly fields: { readonly [name: string]: DeviceTensor };
  /** The fields in the order of the format. */
  readonly parts: readonly DeviceTensor[];

  constructor(
    format: FormatRef,
    shape: readonly number[],
    fields: { readonly [name: string]: DeviceTensor },
  ) {
    this.format = format;
    this.key = formatKey(format);
    this.shape = shape;
    this.fields = fields;
    this.parts = Object.values(fields);
  }

  get device(): Device {
    return this.parts[0]!.device;
  }
  /** Bytes of all fields. */
  get bytes(): number {
    return this.parts.reduce((sum, t) => sum + t.bytes, 0);
  }
  get bitsPerWeight(): number {
    return (8 * this.bytes) / elements(this.shape);
  }

  dispose(): void {
    for (const t of this.parts) t.dispose();
  }
}
