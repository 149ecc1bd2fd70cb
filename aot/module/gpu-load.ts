// In place of load.ts where kernels run on a GPU: from the table of variants to a function that records the launches of a call.
// Text is compiled when it is loaded, a launch when a size first wants it.
import { raise, reasonText } from './errors.ts';
import {
  between,
  bufferAt,
  chained,
  gpuDevice,
  openGpu,
  reserve,
  roomOf,
  uniformOf,
  writeAt,
} from './gpu-memory.ts';
import { dataBytes, fetchUrl, readFile } from './host.ts';
import type { Code } from './load.ts';
import type { SizeFunction } from './spec.ts';

/** A binding: its number, whether it is written, and the buffers in it. Several lie behind each other. */
export type BindingSpec = readonly [number: number, written: 0 | 1, buffers: readonly number[]];

export interface LaunchSpec {
  readonly name: string;
  readonly groups: SizeFunction<number>;
  /** It is for sizes at which all of these are above 0. */
  readonly when?: SizeFunction<readonly number[]>;
  readonly bindings: readonly BindingSpec[];
}
export interface ShaderVariant {
  readonly variant: string;
  readonly file: string;
  readonly bytes: number;
  readonly url: () => URL;
  readonly temps?: SizeFunction<readonly number[]>;
  readonly constants?: readonly string[];
  /** How many of the arguments are buffers; dims follow. */
  readonly buffers: number;
  readonly launches: readonly LaunchSpec[];
}

export interface LoadOptions {
  /** Called with the name of a .wgsl file; nothing means the file beside the module. */
  readonly source?: (file: string) => GpuSource | undefined | Promise<GpuSource | undefined>;
}
/** The text itself, as bytes, or where to read it. */
export type GpuSource = Uint8Array | { readonly href: string };

/** Groups along an axis of a dispatch; more of them are laid out in rows. */
const MOST_GROUPS = 65535;
const COMPUTE = 4;

const probes: { readonly [variant: string]: () => boolean } = {
  packed: () => gpuDevice().features.has('packed_4x8_integer_dot_product'),
  plain: () => true,
};

/** Kernels of a GPU do not trap. */
export const isTrap = (): boolean => false;

export async function loadCode(
  kernel: string,
  variants: readonly ShaderVariant[],
  options: LoadOptions,
): Promise<Code> {
  await openGpu();
  const v = variants.find((x) => probes[x.variant]?.())!;
  const text = await textOf(kernel, v, options);
  const launches = await launchesOf(kernel, v, text);
  return {
    run: (...args) => run(v, launches, args),
    constants: (v.constants ?? []).map((name) => upload(kernel, text, name)),
    variant: v.variant,
    ...(v.temps ? { temps: v.temps } : {}),
  };
}

async function textOf(kernel: string, v: ShaderVariant, options: LoadOptions): Promise<string> {
  let bytes: Uint8Array;
  try {
    const given = await options.source?.(v.file);
    bytes = given instanceof Uint8Array ? given : await bytesOf(given ?? v.url());
  } catch (e) {
    return raise('Q5107', `${kernel}: cannot load ${v.file}: ${reasonText(e)}`, e);
  }
  if (bytes.length !== v.bytes)
    raise(
      'Q5107',
      `${kernel}: ${v.file} has ${bytes.length} bytes, expected ${v.bytes}: truncated, or of another build`,
    );
  return new TextDecoder().decode(bytes);
}

async function bytesOf(url: { readonly href: string }): Promise<Uint8Array> {
  const inside = dataBytes(url);
  if (inside) return inside;
  if (url.href.startsWith('file:')) return (await readFile(url))!;
  const response = await fetchUrl(url.href);
  if (!response.ok) throw new Error(`status ${response.status} of ${url.href}`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Constants travel inside of the .wgsl, in comments. */
function upload(kernel: string, text: string, name: string): number {
  const line = text.split('\n').find((l) => l.startsWith(`// quern.const.${name} `));
  if (line === undefined) return raise('Q5107', `${kernel}: the .wgsl lacks its constant ${name}`);
  const bytes = Uint8Array.from(atob(line.split(' ')[2] ?? ''), (c) => c.charCodeAt(0));
  const address = reserve(bytes.length);
  writeAt(address, bytes.length, (out) => out.set(bytes));
  return address;
}

interface Launch extends LaunchSpec {
  pipeline?: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly compile: () => Promise<void>;
}

async function launchesOf(kernel: string, v: ShaderVariant, code: string): Promise<Launch[]> {
  const { device } = gpuDevice();
  // What is wrong with the text is asked for; it is no uncaptured error.
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  void device.popErrorScope();
  const { messages } = await module.getCompilationInfo();
  const error = messages.find((m) => m.type === 'error');
  if (error)
    raise('Q5121', `${kernel}: the GPU refuses ${v.file}, line ${error.lineNum}: ${error.message}`);
  return v.launches.map((spec): Launch => {
    const layout = device.createBindGroupLayout({
      entries: [
        { binding: 0, visibility: COMPUTE, buffer: { type: 'uniform' } },
        ...spec.bindings.map(([binding, written]) => ({
          binding,
          visibility: COMPUTE,
          buffer: { type: written ? ('storage' as const) : ('read-only-storage' as const) },
        })),
      ],
    });
    const made: Launch = {
      ...spec,
      layout,
      compile: async () => {
        try {
          made.pipeline ??= await device.createComputePipelineAsync({
            layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
            compute: { module, entryPoint: spec.name },
          });
        } catch (e) {
          raise('Q5121', `${kernel}: the GPU refuses ${v.file}: ${reasonText(e)}`, e);
        }
      },
    };
    return made;
  });
}

/** Records a call; it waits only for launches that were never wanted before. */
function run(v: ShaderVariant, all: readonly Launch[], args: number[]): void | Promise<void> {
  const dims = args.slice(v.buffers);
  const wanted = all.filter(
    (l) => (l.when?.(...dims).every((c) => c > 0) ?? true) && l.groups(...dims) > 0,
  );
  const missing = wanted.filter((l) => !l.pipeline);
  if (missing.length === 0) return record(v, wanted, args, dims);
  return Promise.all(missing.map((l) => l.compile())).then(() => record(v, wanted, args, dims));
}

function record(v: ShaderVariant, launches: readonly Launch[], args: number[], dims: number[]) {
  const { device } = gpuDevice();
  const { encoder, uses, passing } = chained(launches.length);
  for (const address of args.slice(0, v.buffers)) uses.add(bufferAt(address).raw);
  // Where the buffers of merged bindings start, in words, follows the dims, in the order of the bindings.
  const merged = new Map(v.launches.flatMap((l) => l.bindings.map((b) => [b[0], b[2]] as const)));
  const starts = [...merged]
    .sort(([a], [b]) => a - b)
    .flatMap(([, list]) => (list.length > 1 ? offsetsOf(list, args).map((at) => at / 4) : []));
  const uniform = uniformOf([0, ...dims, ...starts]);
  passing.push(uniform);
  for (const l of launches) {
    const after: (() => void)[] = [];
    const entries = l.bindings.map(([binding, written, list]) => ({
      binding,
      resource: { buffer: list.length > 1 ? joined(list, written) : bufferAt(args[list[0]!]!).raw },
    }));
    function joined(list: readonly number[], written: 0 | 1): GPUBuffer {
      const offsets = offsetsOf(list, args);
      const parts = list.map((i) => bufferAt(args[i]!));
      const whole = between(offsets.at(-1)! + roomOf(parts.at(-1)!.size));
      passing.push(whole);
      parts.forEach(({ raw, size }, i) => {
        const bytes = Math.ceil(size / 4) * 4;
        encoder.copyBufferToBuffer(raw, 0, whole, offsets[i]!, bytes);
        if (written)
          after.push(() => encoder.copyBufferToBuffer(whole, offsets[i]!, raw, 0, bytes));
      });
      return whole;
    }
    const most = device.limits.maxStorageBufferBindingSize;
    for (const { resource } of entries)
      if (resource.buffer.size > most)
        raise('Q5124', `a buffer of ${resource.buffer.size} bytes; this GPU binds up to ${most}`);
    const group = device.createBindGroup({
      layout: l.layout,
      entries: [{ binding: 0, resource: { buffer: uniform } }, ...entries],
    });
    const count = l.groups(...dims);
    const x = Math.min(count, MOST_GROUPS);
    const pass = encoder.beginComputePass();
    pass.setPipeline(l.pipeline!);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(x, Math.ceil(count / x));
    pass.end();
    for (const copy of after) copy();
  }
}

/** Where the buffers of a merged binding start. */
function offsetsOf(list: readonly number[], args: readonly number[]): number[] {
  let at = 0;
  return list.map((i) => {
    const from = at;
    at += roomOf(bufferAt(args[i]!).size);
    return from;
  });
}
