// load(): a kernel file as an object of async functions. Which specialisation a call needs follows from its
// arguments: compile-time constants by position, formats from the encoded tensors. Each is compiled once.
import type { FormatRef, Json } from '../compiler/artifact.ts';
import type { Limits } from '../compiler/limits.ts';
import { type Argument, describeValue, isHostTensor } from './arguments.ts';
import type { KernelExport, KernelRequest, ModuleInfo } from './compiler-api.ts';
import type { Device } from './devices/device.ts';
import { type DeviceName, device as namedDevice } from './devices/index.ts';
import { Plan } from './dispatch.ts';
import { raise } from './errors.ts';
import { FormatHandle, type PlanSource } from './formats.ts';
import { Jit, type JitOptions } from './jit.ts';
import type { KernelFunction, Loaded } from './loaded.ts';
import { nodeModule } from './platform.ts';
import type { Results } from './results.ts';
import { DeviceTensor, EncodedTensor, formatKey, Given } from './tensor.ts';

export interface LoadOptions extends JitOptions {
  /** A device, or its name; 'auto' by default. */
  readonly device?: Device | DeviceName;
  /** Compare every call with the reference interpreter; a number is the tolerance (1e-4 by default). */
  readonly check?: boolean | number;
}

const TOLERANCE = 1e-4;

/** Everything that compiling and running for one file needs. */
class Session implements PlanSource {
  readonly device: Device;
  readonly jit: Jit;
  readonly #tolerance: number | undefined;

  /** Whether results are made where tensors lie that calls are given; not where both are compared afterwards. */
  get reuses(): boolean {
    return this.device.target?.reuses === true && this.#tolerance === undefined;
  }

  constructor(device: Device, options: LoadOptions) {
    this.device = device;
    this.jit = new Jit(options);
    const { check } = options;
    this.#tolerance = typeof check === 'number' ? check : check ? TOLERANCE : undefined;
  }

  static async open(options: LoadOptions): Promise<Session> {
    const { device = 'auto' } = options;
    return new Session(typeof device === 'string' ? await namedDevice(device) : device, options);
  }

  async plan(
    request: KernelRequest,
    asked: readonly (string | undefined)[],
    resident: 'compact' | 'wide' = 'compact',
    more: Partial<Limits> = {},
  ): Promise<Plan> {
    const { target } = this.device;
    const artifact = target
      ? await this.jit.artifact({
          ...request,
          target: target.name,
          ...(target.preset ? { preset: target.preset } : {}),
          ...(target.limits || Object.keys(more).length
            ? { limits: { ...target.limits, ...more } }
            : {}),
          ...(target.threads ? { threads: true } : {}),
          ...(target.resident ? { resident } : {}),
        })
      : { manifest: await this.jit.signature(request), code: new Uint8Array(0), constants: {} };
    const interpret: Parameters<Device['load']>[1] = (inputs) =>
      this.jit.interpret(request, inputs);
    const executable = await this.device.load(artifact, interpret);
    const packed = await Promise.all(
      (artifact.packed ?? []).map(async ({ buffer, sources, layout, normal = [], repack }) => ({
        buffer,
        sources,
        layout,
        normal,
        executable: await this.device.load(repack, interpret),
      })),
    );
    return new Plan({
      kernel: request.name,
      artifact,
      executable,
      packed,
      wide: () => this.plan(request, asked, 'wide', more),
      within: (limits) => this.plan(request, asked, resident, { ...more, ...limits }),
      device: this.device,
      interpret,
      asked,
      ...(this.#tolerance === undefined ? {} : { check: { tolerance: this.#tolerance } }),
    });
  }
}

/** Plans of a kernel that are found again without making their key. */
const RECENT = 4;

/** What tells formats apart: the format itself where it is passed, else the key of a tensor in it. */
const formatOrKey = (x: unknown): unknown => (x instanceof EncodedTensor ? x.key : x);

interface Recent {
  readonly plan: Plan;
  /** Of arguments. */
  readonly count: number;
  /** Formats, constants, and for each tensor whether it is given up. */
  readonly decided: readonly unknown[];
}

/** One exported kernel: finds the plan that a call needs, compiling it the first time. */
class Kernel {
  readonly #file: string;
  readonly #info: KernelExport;
  readonly #session: Session;
  readonly #ready = new Map<string, Plan>();
  readonly #pending = new Map<string, Promise<Plan>>();
  readonly #recent: Recent[] = [];
  /** Positions of run-time and of compile-time parameters. */
  readonly #dynamic: readonly number[];
  readonly #static: readonly number[];
  /** For each format parameter, the argument that it is taken from: a format, or a tensor encoded in it. */
  readonly #formatFrom: readonly number[];
  readonly #required: number;

  constructor(file: string, info: KernelExport, session: Session) {
    this.#file = file;
    this.#info = info;
    this.#session = session;
    const positions = info.params.map((_, i) => i);
    this.#static = positions.filter((i) => info.params[i]!.kind === 'static');
    this.#dynamic = positions.filter((i) => ['tensor', 'encoded'].includes(info.params[i]!.kind));
    this.#formatFrom = info.formatParams.map((_, f) =>
      info.params.findIndex((p) => p.formatParam === f),
    );
    this.#required = positions.filter((i) => !info.params[i]!.optional).length;
  }

  async call(args: readonly unknown[]): Promise<Results> {
    const plan = this.#again(args) ?? this.#remember(args, this.#ready.get(this.#key(args)));
    return this.#run(plan ?? (await this.prepare(args)), args);
  }

  #run(plan: Plan, args: readonly unknown[]): Results | Promise<Results> {
    if (this.#dynamic.length === args.length) return plan.run(args as readonly Argument[]);
    return plan.run(this.#dynamic.map((i) => args[i] as Argument));
  }

  /** The plan of an earlier call that differs in nothing which decides it. */
  #again(args: readonly unknown[]): Plan | undefined {
    for (const { plan, count, decided } of this.#recent) {
      if (count !== args.length) continue;
      let same = true;
      let at = 0;
      for (const i of this.#formatFrom) if (formatOrKey(args[i]) !== decided[at++]) same = false;
      for (const i of this.#static) if (args[i] !== decided[at++]) same = false;
      for (const i of this.#dynamic) if (args[i] instanceof Given !== decided[at++]) same = false;
      if (same) return plan;
    }
    return undefined;
  }

  #remember(args: readonly unknown[], plan: Plan | undefined): Plan | undefined {
    if (!plan) return undefined;
    const decided = [
      ...this.#formatFrom.map((i) => formatOrKey(args[i])),
      ...this.#static.map((i) => args[i]),
      ...this.#dynamic.map((i) => args[i] instanceof Given),
    ];
    // Lists and records may change from call to call.
    const fixed = (x: unknown): boolean => typeof x !== 'object' || x instanceof FormatHandle;
    if (!decided.every(fixed)) return plan;
    this.#recent.unshift({ plan, count: args.length, decided });
    this.#recent.length = Math.min(this.#recent.length, RECENT);
    return plan;
  }

  /** Identity of the specialisation; also checks what decides it. */
  #key(args: readonly unknown[]): string {
    const { params, name } = this.#info;
    if (args.length > params.length || args.length < this.#required)
      raise('Q5001', {
        kernel: name,
        found: args.length,
        expected: `${name}(${params.map((p) => `${p.name}${p.optional ? '?' : ''}: ${p.text}`).join(', ')})`,
      });
    let key = '';
    for (const i of this.#formatFrom) {
      const ref = this.#formatOf(args[i], i);
      key += args[i] instanceof EncodedTensor ? args[i].key : formatKey(ref);
    }
    for (const i of this.#static) key += `;${this.#staticKey(i, args[i])}`;
    for (const i of this.#dynamic) if (args[i] instanceof Given) key += `;gives ${i}`;
    return key;
  }

  #formatOf(arg: unknown, i: number): FormatRef {
    if (this.#info.params[i]!.kind === 'format')
      return arg instanceof FormatHandle ? arg.ref : this.#wrongKind(i, arg, 'a format');
    if (!(arg instanceof EncodedTensor)) this.#wrongKind(i, arg, 'an encoded tensor');
    return arg.format;
  }

  #staticKey(i: number, value: unknown): string {
    switch (typeof value) {
      case 'number':
      case 'boolean':
        return String(value);
      case 'undefined':
        if (!this.#info.params[i]!.optional) this.#wrongKind(i, value, 'a constant');
        return '';
      case 'string':
        return JSON.stringify(value);
      default:
        if (value instanceof DeviceTensor || value instanceof EncodedTensor || isHostTensor(value))
          this.#wrongKind(i, value, 'a constant');
        return JSON.stringify(value);
    }
  }

  #wrongKind(i: number, value: unknown, what: string): never {
    const p = this.#info.params[i]!;
    raise('Q5002', {
      kernel: this.#info.name,
      where: `argument ${p.name}`,
      found: describeValue(value),
      expected: `${what} (${p.text})`,
    });
  }

  prepare(args: readonly unknown[]): Promise<Plan> {
    const key = this.#key(args);
    let pending = this.#pending.get(key);
    if (!pending) {
      pending = this.#compile(args).then((plan) => {
        this.#ready.set(key, plan);
        return plan;
      });
      this.#pending.set(key, pending);
      pending.catch(() => this.#pending.delete(key));
    }
    return pending;
  }

  #compile(args: readonly unknown[]): Promise<Plan> {
    const { name, params } = this.#info;
    const formats = this.#formatFrom.map((i) => this.#formatOf(args[i], i));
    const statics = params.map((p, i) =>
      p.kind === 'static' ? (args[i] as Json | undefined) : undefined,
    );
    const asked = this.#dynamic.map((i) => {
      const f = params[i]!.formatParam;
      return f === undefined ? undefined : formatKey(formats[f]!);
    });
    const gives = this.#dynamic.flatMap((i, at) => (args[i] instanceof Given ? [at] : []));
    const request: KernelRequest = {
      file: this.#file,
      name,
      ...(gives.length && this.#session.reuses ? { gives } : {}),
      ...(formats.length ? { formats } : {}),
      ...(this.#static.length ? { statics } : {}),
    };
    return this.#session.plan(request, asked);
  }
}

/** Absolute path of a kernel file; names of the library ('quern/formats') stay as they are. */
export function kernelPath(file: URL | string): string {
  const text = String(file);
  if (/^quern(\/|$)/.test(text)) return text;
  const url = nodeModule('node:url');
  if (file instanceof URL || text.startsWith('file:'))
    return url && text.startsWith('file:') ? url.fileURLToPath(text) : text;
  return nodeModule('node:path')?.resolve(text) ?? text;
}

/**
 * Loads a kernel file. Nothing is compiled before it is called. The type parameter is
 * `typeof import('./kernels.ts')`, for names, parameters and results in the editor.
 */
export async function load<M = unknown>(
  file: URL | string,
  options: LoadOptions = {},
): Promise<Loaded<M>> {
  const path = kernelPath(file);
  const session = await Session.open(options);
  const info = await session.jit.describe(path);
  const members = new Map<string, unknown>();
  for (const e of info.exports) {
    if (e.kind === 'kernel') members.set(e.name, kernelFunction(new Kernel(path, e, session)));
    else if (e.kind === 'format')
      members.set(e.name, new FormatHandle({ file: path, name: e.name }, session));
  }
  const formats = new Map<string, FormatHandle>();
  const format = (name: string, args?: readonly Json[]): FormatHandle => {
    const key = JSON.stringify([name, args ?? null]);
    let made = formats.get(key);
    if (!made) {
      if (!info.exports.some((e) => e.name === name && e.kind !== 'kernel'))
        unknownName(info, `format ${name} in ${path}`);
      made = new FormatHandle({ file: path, name, ...(args ? { args } : {}) }, session);
      formats.set(key, made);
    }
    return made;
  };
  members.set('format', format);
  return guarded(members, info, path) as Loaded<M>;
}

/** A format by reference, as a manifest or a model file names it. */
export async function formatFromRef(
  ref: FormatRef,
  options: LoadOptions = {},
): Promise<FormatHandle> {
  return new FormatHandle(ref, await Session.open(options));
}

function kernelFunction(kernel: Kernel): KernelFunction {
  const call = (...args: readonly unknown[]): Promise<Results> => kernel.call(args);
  const prepare = async (...args: readonly unknown[]): Promise<Plan> => kernel.prepare(args);
  return Object.assign(call, { prepare });
}

function unknownName(info: ModuleInfo, what: string): never {
  const known = info.exports.filter((e) => e.kind !== 'other').map((e) => e.name);
  raise('Q5010', { what, known: known.join(', ') || 'no kernels and no formats' });
}

/** The members as an object; a name that is not there is an error that lists those that are. */
function guarded(members: ReadonlyMap<string, unknown>, info: ModuleInfo, path: string): object {
  const target = Object.freeze(Object.fromEntries(members));
  return new Proxy(target, {
    get(object, name) {
      if (typeof name === 'symbol' || members.has(name)) return Reflect.get(object, name);
      // What `await` and printing ask of any object.
      if (['then', 'toJSON', 'constructor'].includes(name)) return undefined;
      return unknownName(info, `kernel or format ${name} in ${path}`);
    },
  });
}
