// A format at run time: encode and decode tensors, read and write its byte-exact layout, and know its storage
// without running anything. Each function is a kernel of its own, compiled when it is first used.
import type { ArgInfo, FormatRef, Json } from '../compiler/artifact.ts';
import { type DType, storageBytes } from '../compiler/ir/dtype.ts';
import type { Argument } from './arguments.ts';
import type { Plan } from './dispatch.ts';
import { raise } from './errors.ts';
import { DimSolver, compilePoly } from './poly.ts';
import { DeviceTensor, EncodedTensor, type HostTensor, elements, formatKey } from './tensor.ts';

/** A field of a format for one shape of the tensor. */
export interface FieldLayout {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly level: 'block' | 'row' | 'tensor';
  /** Bytes in storage. */
  readonly bytes: number;
}

/** Bytes in a format's own layout: one array of structs, or named planes. */
export type Packed = Uint8Array | { readonly [plane: string]: Uint8Array };

/** A plane of a format's layout for one shape of the tensor. */
export interface PlaneLayout {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Makes the plan of a kernel on demand; what load() and formatFromRef() share. */
export interface PlanSource {
  plan(
    request: {
      readonly file: string;
      readonly name: string;
      readonly formatArgs?: readonly Json[];
    },
    asked: readonly (string | undefined)[],
  ): Promise<Plan>;
}

type Part = 'encode' | 'encodeWeighted' | 'decode' | 'pack' | 'unpack';

export interface WeightedEncode {
  /** How much each column counts, f32 [K]; for formats whose encode takes importance weights. */
  readonly weights?: HostTensor | DeviceTensor | undefined;
}

type Encoded = Extract<ArgInfo, { kind: 'encoded' }>;

export class FormatHandle {
  readonly name: string;
  readonly ref: FormatRef;
  readonly #source: PlanSource;
  readonly #plans = new Map<Part, Promise<Plan>>();

  constructor(ref: FormatRef, source: PlanSource) {
    this.name = ref.name;
    this.ref = ref;
    this.#source = source;
  }

  #plan(part: Part): Promise<Plan> {
    let plan = this.#plans.get(part);
    if (!plan) {
      const { file, name, args } = this.ref;
      const request = { file, name: `${name}.${part}`, ...(args ? { formatArgs: args } : {}) };
      const takes = part === 'decode' || part === 'pack' ? formatKey(this.ref) : undefined;
      plan = this.#source.plan(request, [takes]);
      this.#plans.set(part, plan);
      plan.catch(() => this.#plans.delete(part));
    }
    return plan;
  }

  async encode(
    x: HostTensor | DeviceTensor,
    { weights }: WeightedEncode = {},
  ): Promise<EncodedTensor> {
    const made = weights ? this.#run('encodeWeighted', [x, weights]) : this.#run('encode', [x]);
    return (await made) as EncodedTensor;
  }

  async decode(w: EncodedTensor): Promise<DeviceTensor> {
    return (await this.#run('decode', [w])) as DeviceTensor;
  }

  async #run(part: Part, args: readonly Argument[]) {
    const plan = await this.#plan(part);
    return plan.run(args);
  }

  /** The bytes of the format's layout. */
  async pack(w: EncodedTensor): Promise<Packed> {
    const made = await this.#run('pack', [w]);
    if (made instanceof DeviceTensor) return take(made);
    const out: Record<string, Uint8Array> = {};
    for (const [name, t] of Object.entries(made)) out[name] = await take(t as DeviceTensor);
    return out;
  }

  /** The inverse of {@link pack}, for a tensor of the given logical shape. */
  async unpack(packed: Packed, shape: readonly number[]): Promise<EncodedTensor> {
    const plan = await this.#plan('unpack');
    const { manifest } = plan.artifact;
    const dims = solveFor(manifest, manifest.results[0] as Encoded, shape);
    const args: DeviceTensor[] = [];
    try {
      for (const p of manifest.params) {
        if (p.kind === 'encoded') continue;
        const bytes = packed instanceof Uint8Array ? packed : packed[p.name];
        const planes = packed instanceof Uint8Array ? 'one array' : Object.keys(packed).join(', ');
        if (!bytes || (packed instanceof Uint8Array && manifest.params.length > 1))
          raise('Q5002', {
            kernel: `${this.name}.unpack`,
            where: `argument ${p.name}`,
            found: planes,
            expected: `the planes ${manifest.params.map((q) => q.name).join(', ')}`,
          });
        const size = p.shape.map((code) => compilePoly(code, manifest.dims)(dims));
        args.push(DeviceTensor.fromBytes(plan.device, bytes, p.dtype, size));
      }
      return (await plan.run(args)) as EncodedTensor;
    } finally {
      for (const t of args) t.dispose();
    }
  }

  /** Fields and their storage for a tensor of the given shape. */
  async layout(shape: readonly number[]): Promise<readonly FieldLayout[]> {
    const { manifest } = (await this.#plan('encode')).artifact;
    const info = manifest.results[0] as Encoded;
    const dims = solveFor(manifest, info, shape);
    return info.fields.map(({ name, dtype, level, shape: codes }) => {
      const size = codes.map((code) => compilePoly(code, manifest.dims)(dims));
      return { name, dtype, level, shape: size, bytes: storageBytes(dtype, size) };
    });
  }

  /** What {@link pack} gives for a tensor of the given shape; a lone array has the name that its result has. */
  async planes(shape: readonly number[]): Promise<readonly PlaneLayout[]> {
    const { manifest } = (await this.#plan('pack')).artifact;
    const encoded = manifest.params.find((p): p is Encoded => p.kind === 'encoded')!;
    const dims = solveFor(manifest, encoded, shape);
    return manifest.results.flatMap((r) =>
      r.kind === 'tensor'
        ? [
            {
              name: r.name,
              dtype: r.dtype,
              shape: r.shape.map((code) => compilePoly(code, manifest.dims)(dims)),
            },
          ]
        : [],
    );
  }

  /** Bits that one element takes, all fields counted. */
  async bitsPerWeight(shape: readonly number[]): Promise<number> {
    const bytes = (await this.layout(shape)).reduce((sum, f) => sum + f.bytes, 0);
    return (8 * bytes) / elements(shape);
  }

  /** An encoded tensor from the storage bytes of its fields, as a model file holds them. */
  async assemble(
    shape: readonly number[],
    fields: { readonly [name: string]: Uint8Array },
  ): Promise<EncodedTensor> {
    const plan = await this.#plan('encode');
    const parts: Record<string, DeviceTensor> = {};
    try {
      for (const f of await this.layout(shape)) {
        const bytes = fields[f.name];
        if (bytes?.length !== f.bytes)
          raise('Q5012', {
            kernel: this.name,
            where: 'assemble()',
            field: f.name,
            found: bytes ? `${bytes.length} bytes` : 'nothing',
            expected: `${f.bytes} bytes of ${f.dtype}[${f.shape.join(', ')}]`,
          });
        parts[f.name] = DeviceTensor.fromBytes(plan.device, bytes, f.dtype, f.shape);
      }
    } catch (e) {
      for (const t of Object.values(parts)) t.dispose();
      throw e;
    }
    const info = plan.artifact.manifest.results[0] as Encoded;
    return new EncodedTensor(info.format, [...shape], parts);
  }
}

/** Raw bytes of a tensor that is not needed any more. */
async function take(t: DeviceTensor): Promise<Uint8Array> {
  try {
    return await t.raw();
  } finally {
    t.dispose();
  }
}

/** Dims of a manifest, from the logical shape of its encoded argument or result. */
function solveFor(
  manifest: Plan['artifact']['manifest'],
  info: Encoded,
  shape: readonly number[],
): number[] {
  const dims: number[] = [];
  new DimSolver(manifest, [info], () => 'the shape').solve([shape], dims);
  return dims;
}
