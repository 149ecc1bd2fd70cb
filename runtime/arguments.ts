// Arguments of a call: each is checked against its parameter (kind, dtype, place, fields) and gives the buffers that
// the kernel reads; what is still on the host is uploaded. Every complaint names the kernel, the argument, what was
// found and what was expected.
import type { ArgInfo, Manifest, TensorInfo } from '../compiler/artifact.ts';
import { type DType, dtypes, isFloat } from '../compiler/ir/dtype.ts';
import { type Device, type DeviceBuffer, fill } from './devices/device.ts';
import { raise, shapeText } from './errors.ts';
import { firstMisfit, naturalDType, packInto, storageBytes } from './pack.ts';
import { compilePoly, type PolyFunction } from './poly.ts';
import {
  checkHost,
  DeviceTensor,
  EncodedTensor,
  formatKey,
  formatText,
  type Given,
  type HostTensor,
  misfitFacts,
} from './tensor.ts';

/** What a call may pass for a tensor or an encoded parameter. */
export type Argument = number | HostTensor | DeviceTensor | EncodedTensor | Given;

const SCALAR_SHAPE: readonly number[] = [];

/** A tensor of a signature and its shape as functions of the dims. */
export interface Field {
  readonly info: TensorInfo;
  readonly shape: readonly PolyFunction[];
}
export interface Param {
  readonly info: ArgInfo;
  readonly where: string;
  /** Of an encoded parameter. */
  readonly fields: readonly Field[];
  readonly keys: readonly string[];
}

export const shapeOf = (
  t: { readonly shape: TensorInfo['shape'] },
  dims: readonly string[],
): readonly PolyFunction[] => t.shape.map((code) => compilePoly(code, dims));

export const fieldsOf = (info: ArgInfo, dims: readonly string[]): readonly Field[] =>
  info.kind === 'tensor' ? [] : info.fields.map((f) => ({ info: f, shape: shapeOf(f, dims) }));

/** The parameters of one specialisation of a kernel. */
export class Params {
  readonly kernel: string;
  readonly device: Device;
  readonly list: readonly Param[];

  /** `asked`: format keys that were asked for, by parameter; they count as the manifest's own. */
  constructor(
    kernel: string,
    device: Device,
    { params, dims }: Pick<Manifest, 'params' | 'dims'>,
    asked?: readonly (string | undefined)[],
  ) {
    this.kernel = kernel;
    this.device = device;
    this.list = params.map((info, i) => {
      const own = info.kind === 'encoded' ? [formatKey(info.format)] : [];
      const also = asked?.[i];
      return {
        info,
        where: `argument ${info.name}`,
        fields: fieldsOf(info, dims),
        keys: also === undefined ? own : [also, ...own],
      };
    });
  }

  /** Shape of an argument, once its kind, dtype and place are right. */
  accept(p: Param, arg: Argument): readonly number[] {
    const { info } = p;
    if (info.kind === 'encoded') {
      if (!(arg instanceof EncodedTensor))
        this.kind(p, arg, `a tensor encoded as ${formatText(info.format)}`);
      if (!p.keys.includes(arg.key))
        raise('Q5011', {
          kernel: this.kernel,
          where: p.where,
          found: formatText(arg.format),
          expected: formatText(info.format),
        });
      if (arg.device !== this.device) this.#elsewhere(p, arg.device);
      return arg.shape;
    }
    if (arg instanceof DeviceTensor) {
      if (arg.dtype !== info.dtype) this.#dtype(p, arg.dtype, info.dtype);
      if (arg.device !== this.device) this.#elsewhere(p, arg.device);
      return arg.shape;
    }
    if (typeof arg === 'number') {
      if (info.shape.length > 0) this.kind(p, arg, `a tensor ${info.dtype}${info.text}`);
      if (firstMisfit(info.dtype, [arg]) !== undefined)
        raise('Q5014', misfitFacts(this.kernel, p.where, arg, info.dtype));
      return SCALAR_SHAPE;
    }
    if (!isHostTensor(arg)) this.kind(p, arg, `a tensor ${info.dtype}${info.text}`);
    this.#acceptHost(p, arg, info.dtype);
    return arg.shape;
  }

  /** Host data fills a parameter of its own kind: floats floats (rounded), integers any integer type they fit. */
  #acceptHost(p: Param, arg: HostTensor, dtype: DType): void {
    checkHost(arg, `${this.kernel}: ${p.where}`);
    if (arg.dtype !== undefined && arg.dtype !== dtype) this.#dtype(p, arg.dtype, dtype);
    const natural = naturalDType(arg.data);
    const untyped = Array.isArray(arg.data) || arg.dtype !== undefined;
    if (!untyped && isFloat(natural) !== isFloat(dtype)) this.#dtype(p, natural, dtype);
    const misfit = firstMisfit(dtype, arg.data);
    if (misfit !== undefined) raise('Q5014', misfitFacts(this.kernel, p.where, misfit, dtype));
  }

  kind(p: Param, arg: unknown, expected: string): never {
    raise('Q5002', { kernel: this.kernel, where: p.where, found: describeValue(arg), expected });
  }
  #dtype(p: Param, found: DType, expected: DType): never {
    raise('Q5003', { kernel: this.kernel, where: p.where, found, expected });
  }
  #elsewhere(p: Param, found: Device): never {
    const text = (d: Device) => `the ${d.kind} device (${d.name})`;
    const other =
      found.kind === this.device.kind ? `another instance of ${text(found)}` : text(found);
    raise('Q5104', {
      kernel: this.kernel,
      where: p.where,
      found: other,
      expected: text(this.device),
    });
  }

  /**
   * Puts the buffers of an argument at `at` and behind, and gives the place behind them. What is still on the host is
   * uploaded, into buffers that go into `uploads` as well.
   */
  bind(
    p: Param,
    arg: Argument,
    dims: readonly number[],
    buffers: DeviceBuffer[],
    at: number,
    uploads: DeviceBuffer[],
  ): number {
    if (p.info.kind === 'encoded') {
      const { fields } = arg as EncodedTensor;
      let next = at;
      for (let i = 0; i < p.fields.length; i++) {
        const f = p.fields[i]!;
        const part = fields[f.info.name];
        if (!part || part.dtype !== f.info.dtype || !sameShape(part.shape, f.shape, dims))
          this.#field(p, f, part, dims);
        buffers[next++] = part.buffer;
      }
      return next;
    }
    buffers[at] =
      arg instanceof DeviceTensor
        ? arg.buffer
        : this.#upload(p.info.dtype, arg as number | HostTensor, uploads);
    return at + 1;
  }

  #upload(dtype: DType, arg: number | HostTensor, uploads: DeviceBuffer[]): DeviceBuffer {
    const shape = typeof arg === 'number' ? SCALAR_SHAPE : arg.shape;
    const data = typeof arg === 'number' ? [arg] : arg.data;
    const bytes = storageBytes(dtype, shape);
    const made = this.device.allocate(bytes);
    uploads.push(made);
    fill(this.device, made, 0, bytes, (out) => packInto(dtype, shape, data, out));
    return made;
  }

  #field(p: Param, f: Field, part: DeviceTensor | undefined, dims: readonly number[]): never {
    raise('Q5012', {
      kernel: this.kernel,
      where: p.where,
      field: f.info.name,
      found: part ? `${part.dtype}${shapeText(part.shape)}` : 'nothing',
      expected: `${f.info.dtype}${shapeText(f.shape.map((s) => s(dims)))}`,
    });
  }
}

function sameShape(
  shape: readonly number[],
  want: readonly PolyFunction[],
  dims: readonly number[],
): boolean {
  if (shape.length !== want.length) return false;
  for (let i = 0; i < shape.length; i++) if (shape[i] !== want[i]!(dims)) return false;
  return true;
}

export function isHostTensor(x: unknown): x is HostTensor {
  if (typeof x !== 'object' || x === null || !('data' in x) || !('shape' in x)) return false;
  const { data, shape } = x;
  const typed = ArrayBuffer.isView(data) && 'length' in data && !('asUintN' in data);
  const dtype = 'dtype' in x ? x.dtype : undefined;
  return (
    (typed || Array.isArray(data)) &&
    Array.isArray(shape) &&
    (dtype === undefined || (typeof dtype === 'string' && Object.hasOwn(dtypes, dtype)))
  );
}

/** What a value is, for messages. */
export function describeValue(x: unknown): string {
  if (x === null || x === undefined) return String(x);
  if (x instanceof DeviceTensor) return `a tensor ${x.dtype}${shapeText(x.shape)}`;
  if (x instanceof EncodedTensor) return `a tensor encoded as ${formatText(x.format)}`;
  if (ArrayBuffer.isView(x)) return `a ${x.constructor.name} without a shape`;
  if (isHostTensor(x)) return `host data of shape ${shapeText(x.shape)}`;
  if (typeof x === 'object') return Array.isArray(x) ? 'an array' : 'an object';
  return `the ${typeof x} ${String(x)}`;
}
