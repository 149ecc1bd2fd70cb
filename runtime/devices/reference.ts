// The reference device: kernels run through the compiler's interpreter, which defines what every op means.
// Slow and exact; storage is plain host bytes in the same layout as everywhere else.
import type { Artifact } from '../../compiler/artifact.ts';
import { type DType, scalarOf, storageBytes } from '../../compiler/ir/dtype.ts';
import type { HostArray } from '../compiler-api.ts';
import { packInto, unpack } from '../pack.ts';
import { compilePoly, type PolyFunction } from '../poly.ts';
import type { Declined, Device, DeviceBuffer, Executable, Interpret } from './device.ts';

interface ReferenceBuffer extends DeviceBuffer {
  data: Uint8Array;
  live: boolean;
}

/** A dtype and a symbolic shape, in the order in which the interpreter takes and gives them. */
interface Slot {
  readonly dtype: DType;
  readonly shape: readonly PolyFunction[];
}

export class ReferenceDevice implements Device {
  readonly kind = 'reference';
  readonly name = 'interpreter in TypeScript';
  readonly reason: string;
  readonly declined: readonly Declined[];
  #used = 0;

  constructor(options: { readonly reason?: string; readonly declined?: readonly Declined[] } = {}) {
    this.reason = options.reason ?? 'asked for by name';
    this.declined = options.declined ?? [];
  }

  get used(): number {
    return this.#used;
  }

  allocate(bytes: number): DeviceBuffer {
    this.#used += bytes;
    return { bytes, data: new Uint8Array(bytes), live: true } as ReferenceBuffer;
  }

  free(buffer: DeviceBuffer): void {
    const b = buffer as ReferenceBuffer;
    if (!b.live) return;
    b.live = false;
    this.#used -= b.bytes;
    b.data = new Uint8Array(0);
  }

  write(buffer: DeviceBuffer, offset: number, bytes: Uint8Array): void {
    (buffer as ReferenceBuffer).data.set(bytes, offset);
  }

  read(buffer: DeviceBuffer, offset: number, bytes: number): Promise<Uint8Array> {
    return Promise.resolve(this.view(buffer, offset, bytes).slice());
  }

  view(buffer: DeviceBuffer, offset: number, bytes: number): Uint8Array {
    return (buffer as ReferenceBuffer).data.subarray(offset, offset + bytes);
  }

  copy(
    from: DeviceBuffer,
    fromOffset: number,
    to: DeviceBuffer,
    toOffset: number,
    bytes: number,
  ): void {
    this.write(to, toOffset, this.view(from, fromOffset, bytes));
  }

  async load(artifact: Artifact, interpret: Interpret): Promise<Executable> {
    const { manifest } = artifact;
    const slots = (args: typeof manifest.params): Slot[] =>
      args.flatMap((a) =>
        (a.kind === 'tensor' ? [a] : a.fields).map((t) => ({
          dtype: t.dtype,
          shape: t.shape.map((code) => compilePoly(code, manifest.dims)),
        })),
      );
    const inputs = slots(manifest.params);
    const outputs = slots(manifest.results);
    const run = async (params: readonly DeviceBuffer[], dims: readonly number[]) => {
      const given = inputs.map((slot, i): HostArray => {
        const shape = slot.shape.map((f) => f(dims));
        return hostArray(slot.dtype, shape, (params[i] as ReferenceBuffer).data);
      });
      const results = await interpret(given);
      return outputs.map((slot, i) => {
        const shape = slot.shape.map((f) => f(dims));
        const made = this.allocate(storageBytes(slot.dtype, shape)) as ReferenceBuffer;
        packInto(slot.dtype, shape, results[i]!.data, made.data);
        return made;
      });
    };
    return { run };
  }
}

/** Storage bytes as the interpreter wants them: one entry an element, in the array of the scalar type. */
export function hostArray(dtype: DType, shape: readonly number[], bytes: Uint8Array): HostArray {
  const values = unpack(dtype, shape, bytes);
  const scalar = scalarOf(dtype);
  const data =
    scalar === 'f32'
      ? (values as Float32Array)
      : scalar === 'bool'
        ? (values as Uint8Array)
        : scalar === 'u32'
          ? Uint32Array.from(values)
          : values instanceof Int32Array
            ? values
            : Int32Array.from(values);
  return { dtype, shape, data };
}
