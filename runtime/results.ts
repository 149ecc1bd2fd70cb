// Results of a call: the buffers that a kernel made become tensors of the shapes that the dims say, put together as
// the manifest has it; and, for checked calls, they are compared with what the interpreter gives.
import type { ArgInfo, Manifest, TensorInfo } from '../compiler/artifact.ts';
import { type Field, fieldsOf, shapeOf } from './arguments.ts';
import { type CheckOptions, compareResults } from './check.ts';
import type { Device, DeviceBuffer, Interpret } from './devices/device.ts';
import { hostArray } from './devices/reference.ts';
import { compilePoly, type PolyFunction } from './poly.ts';
import { DeviceTensor, EncodedTensor } from './tensor.ts';

export type Result = DeviceTensor | EncodedTensor;
/** A lone result as it is; the parts of a record by name, those of a list (named 0, 1, ...) in order. */
export type Results = Result | { readonly [name: string]: Result } | readonly Result[];

interface Made {
  readonly info: ArgInfo;
  readonly shape: readonly PolyFunction[];
  readonly fields: readonly Field[];
}

/** The results of one specialisation of a kernel. */
export class ResultMaker {
  readonly #device: Device;
  readonly #returns: Manifest['returns'];
  readonly #results: readonly Made[];
  /** Results whose length the data decide, with the names of those that say it. */
  readonly #ragged: readonly (readonly [name: string, rows: string])[];

  constructor(device: Device, { results, dims, returns }: Manifest) {
    this.#device = device;
    this.#returns = returns;
    this.#results = results.map((info) => ({
      info,
      shape: shapeOf(info, dims),
      fields: fieldsOf(info, dims),
    }));
    this.#ragged = results.flatMap((r) =>
      r.kind === 'tensor' && r.rows !== undefined ? [[r.name, r.rows] as const] : [],
    );
  }

  /** Takes the buffers over. A promise where lengths are read that the host does not see at once. */
  wrap(made: readonly DeviceBuffer[], dims: readonly number[]): Results | Promise<Results> {
    if (this.#returns === 'value') return this.#wrap(this.#results[0]!, made, 0, dims);
    let next = 0;
    const values: Result[] = [];
    for (const r of this.#results) {
      values.push(this.#wrap(r, made, next, dims));
      next += r.info.kind === 'tensor' ? 1 : r.fields.length;
    }
    if (this.#returns === 'tuple') return values;
    const parts: Record<string, Result> = {};
    for (let i = 0; i < values.length; i++) parts[this.#results[i]!.info.name] = values[i]!;
    return this.#ragged.length === 0 ? parts : this.#cut(parts);
  }

  /** The result whose buffers begin at `at`. */
  #wrap(r: Made, made: readonly DeviceBuffer[], at: number, dims: readonly number[]): Result {
    const { info } = r;
    const shape = sizesOf(r.shape, dims);
    if (info.kind === 'tensor') return DeviceTensor.own(this.#device, made[at]!, info.dtype, shape);
    const parts: Record<string, DeviceTensor> = {};
    for (let i = 0; i < r.fields.length; i++) {
      const { info: field, shape: size } = r.fields[i]!;
      const sizes = sizesOf(size, dims);
      parts[field.name] = DeviceTensor.own(this.#device, made[at + i]!, field.dtype, sizes);
    }
    return new EncodedTensor(info.format, shape, parts);
  }

  /** Results with as many rows as count, without the scalars that said so. */
  #cut(parts: { [name: string]: Result }): Results | Promise<Results> {
    const counts = this.#ragged.map(([, rows]) => rowsOf(parts[rows] as DeviceTensor));
    const finish = (all: readonly number[]): Results => {
      this.#ragged.forEach(([name], i) => {
        parts[name] = (parts[name] as DeviceTensor).cut(all[i]!);
      });
      for (const [, rows] of this.#ragged) {
        parts[rows]?.dispose();
        delete parts[rows];
      }
      return parts;
    };
    const known = counts.every((c): c is number => typeof c === 'number');
    return known ? finish(counts) : Promise.all(counts).then(finish);
  }
}

/** Compares what a call made with what the interpreter gives for the same inputs. */
export async function compareCall(
  kernel: string,
  { params, results, dims: names }: Manifest,
  device: Device,
  interpret: Interpret,
  check: CheckOptions,
  made: readonly DeviceBuffer[],
  buffers: readonly DeviceBuffer[],
  dims: readonly number[],
): Promise<void> {
  const fetch = async (args: readonly ArgInfo[], from: readonly DeviceBuffer[]) =>
    Promise.all(
      flatten(args).map(async (t, i) => {
        const shape = t.shape.map((code) => compilePoly(code, names)(dims));
        const bytes = await device.read(from[i]!, 0, from[i]!.bytes);
        return { name: t.name, array: hostArray(t.dtype, shape, bytes) };
      }),
    );
  const found = await fetch(results, made);
  const inputs = await fetch(params, buffers);
  const wanted = await interpret(inputs.map((x) => x.array));
  compareResults(kernel, check, found, wanted);
}

function sizesOf(shape: readonly PolyFunction[], dims: readonly number[]): readonly number[] {
  const out: number[] = [];
  for (let i = 0; i < shape.length; i++) out.push(shape[i]!(dims));
  return out;
}

/** The number in a scalar: at once where the host sees the memory. */
function rowsOf(t: DeviceTensor): number | Promise<number> {
  const waiting = t.device.ready?.(t.buffer);
  if (waiting) return waiting.then(() => rowsOf(t));
  const bytes = t.device.view?.(t.buffer, 0, 4);
  const number = (b: Uint8Array): number => new DataView(b.buffer, b.byteOffset).getInt32(0, true);
  return bytes ? number(bytes) : t.raw().then(number);
}

/** The tensors of arguments or results, encoded ones as their fields. */
const flatten = (args: readonly ArgInfo[]): TensorInfo[] =>
  args.flatMap((a) => {
    if (a.kind === 'tensor') return [a as TensorInfo];
    return a.fields.map((f): TensorInfo => ({ ...f, name: `${a.name}.${f.name}` }));
  });
