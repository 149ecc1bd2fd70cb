// One specialisation of a kernel, ready to be called: its checks are compiled when it is made, so that a warm
// call only compares numbers.
import type { Artifact } from '../compiler/artifact.ts';
import type { Limits } from '../compiler/limits.ts';
import { type Argument, Params } from './arguments.ts';
import type { CheckOptions } from './check.ts';
import type { Device, DeviceBuffer, Executable, Interpret } from './devices/device.ts';
import { raise } from './errors.ts';
import { DimSolver } from './poly.ts';
import { compareCall, ResultMaker, type Results } from './results.ts';
import { DeviceTensor, EncodedTensor, Given } from './tensor.ts';

interface Packed {
  readonly buffer: number;
  readonly sources: readonly number[];
  readonly layout: string;
  /** Buffers of half floats that the kernel reads as if all were zero or normal. */
  readonly normal: readonly number[];
  readonly executable: Executable;
}

/** A layout that is wanted, and the other buffers that it is made from. */
interface Wanted {
  readonly info: Packed;
  readonly others: readonly number[];
  /** What these hold in the call under way. */
  readonly contents: number[];
}
const none: DeviceBuffer[] = [];

export interface PlanOptions {
  readonly kernel: string;
  readonly artifact: Artifact;
  readonly executable: Executable;
  /** Buffers that the kernel wants in layouts of its own, and what makes these. */
  readonly packed?: readonly Packed[];
  /** The same kernel for half floats of any kind. */
  readonly wide?: () => Promise<Plan>;
  /** The same kernel for other limits. */
  readonly within?: (limits: Partial<Limits>) => Promise<Plan>;
  readonly device: Device;
  readonly interpret: Interpret;
  /** Compare every call with the interpreter. */
  readonly check?: CheckOptions;
  /** Format keys that were asked for, by parameter: they count as the manifest's own. */
  readonly asked?: readonly (string | undefined)[];
}

export class Plan {
  readonly kernel: string;
  readonly artifact: Artifact;
  readonly device: Device;
  readonly #executable: Executable;
  readonly #interpret: Interpret;
  readonly #check: CheckOptions | undefined;
  readonly #params: Params;
  readonly #results: ResultMaker;
  readonly #solver: DimSolver;
  readonly #packed: readonly Wanted[];
  /** For each buffer, the parameter that it comes from, and the field of it if that is encoded. */
  readonly #from: readonly (readonly [param: number, field: string | undefined])[];
  /** Buffers of half floats that must be zero or normal. */
  readonly #normal: readonly number[];
  readonly #makeWide: (() => Promise<Plan>) | undefined;
  #wide: Promise<Plan> | undefined;
  readonly #within: PlanOptions['within'];
  readonly #others = new Map<string, Promise<Plan>>();
  /** Of a call until it has been handed to a device that keeps nothing of it: made once, so that calls leave no garbage. */
  readonly #shapes: (readonly number[])[] = [];
  readonly #dims: number[] | undefined;
  readonly #buffers: DeviceBuffer[] = [];
  readonly #used: DeviceBuffer[] = [];

  constructor(options: PlanOptions) {
    const { artifact, kernel, asked } = options;
    const { manifest } = artifact;
    this.kernel = kernel;
    this.artifact = artifact;
    this.device = options.device;
    this.#executable = options.executable;
    this.#interpret = options.interpret;
    this.#check = options.check;
    this.#makeWide = options.wide;
    const packed = options.packed ?? [];
    this.#packed = packed.map((info) => {
      const others = info.sources.filter((b) => b !== info.buffer);
      return { info, others, contents: others.map(() => 0) };
    });
    this.#normal = [...new Set(packed.flatMap((p) => p.normal))];
    this.#within = options.within;
    this.#params = new Params(kernel, options.device, manifest, asked);
    this.#results = new ResultMaker(options.device, manifest);
    this.#from = manifest.params.flatMap((p, i): (readonly [number, string | undefined])[] =>
      p.kind === 'encoded' ? p.fields.map((f) => [i, f.name]) : [[i, undefined]],
    );
    this.#solver = new DimSolver({ ...manifest, name: kernel }, manifest.params);
    this.#dims = options.executable.keepsNothing && !options.check ? [] : undefined;
  }

  /** Checks the arguments, uploads those of the host, runs, and wraps the results. */
  run(given: readonly Argument[]): Results | Promise<Results> {
    let gives = false;
    for (let i = 0; i < given.length; i++) if (given[i] instanceof Given) gives = true;
    const args = gives ? this.#taken(given) : given;
    const { list } = this.#params;
    for (let i = 0; i < list.length; i++) this.#shapes[i] = this.#params.accept(list[i]!, args[i]!);
    const dims = this.#dims ?? [];
    this.#solver.solve(this.#shapes, dims);
    const lacks = this.#within && this.#executable.lacks?.(dims);
    if (lacks) return this.#for(lacks).then((plan) => plan.run(given));
    if (this.#normal.length && this.#makeWide) {
      const normal = this.#areNormal(args);
      if (normal instanceof Promise) return normal.then(() => this.run(given));
      if (!normal) {
        this.#wide ??= this.#makeWide();
        return this.#wide.then((plan) => plan.run(given));
      }
    }

    const buffers = this.#dims ? this.#buffers : [];
    const uploads = this.#hasHost(args) ? [] : none;
    let running: readonly DeviceBuffer[] | Promise<readonly DeviceBuffer[]>;
    try {
      let at = 0;
      for (let i = 0; i < list.length; i++)
        at = this.#params.bind(list[i]!, args[i]!, dims, buffers, at, uploads);
      const used = this.#packed.length ? this.#laidOut(args, buffers, dims) : buffers;
      running =
        used instanceof Promise
          ? this.#runLater(used, [...dims])
          : this.#executable.run(used, dims);
    } catch (e) {
      this.#end(uploads, given, gives, false);
      throw e;
    }
    if (running instanceof Promise || this.#check)
      return this.#finish(running, buffers, this.#dims ? [...dims] : dims).then(
        (results) => {
          this.#end(uploads, given, gives, true);
          return results;
        },
        (e: unknown) => {
          this.#end(uploads, given, gives, false);
          throw e;
        },
      );
    this.#end(uploads, given, gives, true);
    return this.#results.wrap(running, dims);
  }

  async #runLater(
    used: Promise<readonly DeviceBuffer[]>,
    dims: readonly number[],
  ): Promise<readonly DeviceBuffer[]> {
    return this.#executable.run(await used, dims);
  }

  /** Whether an argument has to be uploaded. */
  #hasHost(args: readonly Argument[]): boolean {
    for (let i = 0; i < args.length; i++) {
      const a = args[i];
      if (!(a instanceof DeviceTensor) && !(a instanceof EncodedTensor)) return true;
    }
    return false;
  }

  /** After a call: uploads are freed, and tensors that were given up end. */
  #end(
    uploads: readonly DeviceBuffer[],
    given: readonly Argument[],
    gives: boolean,
    made: boolean,
  ): void {
    for (let i = 0; i < uploads.length; i++) this.device.free(uploads[i]!);
    if (gives) this.#giveUp(given, made);
  }

  /** The plan of the same kernel for what this one lacks. */
  #for(limits: Partial<Limits>): Promise<Plan> {
    const key = JSON.stringify(limits);
    let made = this.#others.get(key);
    if (!made) {
      made = this.#within!(limits);
      this.#others.set(key, made);
      made.catch(() => this.#others.delete(key));
    }
    return made;
  }

  /** The tensors of arguments that are given up, which nobody else may hold. */
  #taken(given: readonly Argument[]): Argument[] {
    const args = given.map((a) => (a instanceof Given ? a.tensor : a));
    given.forEach((a, i) => {
      if (!(a instanceof Given)) return;
      const p = this.#params.list[i]!;
      const { tensor } = a;
      if (!(tensor instanceof DeviceTensor))
        this.#params.kind(p, tensor, 'give() of a tensor on the device');
      const { buffer } = tensor;
      const again = args.some(
        (b, j) => j !== i && b instanceof DeviceTensor && !b.disposed && b.buffer === buffer,
      );
      if (again || tensor.shared)
        raise('Q5017', {
          kernel: this.kernel,
          where: p.where,
          found: again
            ? 'a tensor that is passed twice'
            : 'a tensor that shares memory with a view',
        });
    });
    return args;
  }

  /** Ends the tensors that were given up. The memory of those that a result was made in is that result's. */
  #giveUp(given: readonly Argument[], made: boolean): void {
    const { reuses = [] } = this.artifact.manifest;
    let at = 0;
    this.#params.list.forEach((p, i) => {
      const a = given[i];
      if (a instanceof Given)
        if (made && reuses.some((r) => r.param === at)) a.tensor.handOver();
        else a.tensor.dispose();
      at += p.info.kind === 'encoded' ? p.fields.length : 1;
    });
  }

  /** The way of devices that answer later, and of checked calls. */
  async #finish(
    running: readonly DeviceBuffer[] | Promise<readonly DeviceBuffer[]>,
    buffers: readonly DeviceBuffer[],
    dims: readonly number[],
  ): Promise<Results> {
    const made = await running;
    if (this.#check) {
      try {
        const { kernel, device, artifact } = this;
        const [check, interpret] = [this.#check, this.#interpret];
        await compareCall(kernel, artifact.manifest, device, interpret, check, made, buffers, dims);
      } catch (e) {
        for (const b of made) this.device.free(b);
        throw e;
      }
    }
    return this.#results.wrap(made, dims);
  }

  /** Whether half floats are what the kernel takes them for; a promise where that cannot be seen yet. */
  #areNormal(args: readonly Argument[]): boolean | Promise<boolean> {
    for (let i = 0; i < this.#normal.length; i++) {
      const normal = this.#field(args, this.#normal[i]!)?.isNormal() ?? true;
      if (normal !== true) return normal;
    }
    return true;
  }

  /** The field of an encoded argument that a buffer belongs to. */
  #field(args: readonly Argument[], buffer: number): DeviceTensor | undefined {
    const from = this.#from[buffer]!;
    return (args[from[0]] as EncodedTensor).fields[from[1]!];
  }

  /** The buffers with those replaced that the kernel wants in layouts of its own. */
  #laidOut(
    args: readonly Argument[],
    buffers: readonly DeviceBuffer[],
    dims: readonly number[],
  ): readonly DeviceBuffer[] | Promise<readonly DeviceBuffer[]> {
    const used: (DeviceBuffer | Promise<DeviceBuffer>)[] = this.#dims ? this.#used : [];
    for (let i = 0; i < buffers.length; i++) used[i] = buffers[i]!;
    let waits = false;
    for (let p = 0; p < this.#packed.length; p++) {
      const wanted = this.#packed[p]!;
      const { info, others, contents } = wanted;
      const tensor = this.#field(args, info.buffer)!;
      for (let i = 0; i < others.length; i++) contents[i] = this.#field(args, others[i]!)!.contents;
      const made =
        tensor.madeInLayout(info, contents) ?? this.#repack(wanted, tensor, buffers, dims);
      if (made instanceof Promise) waits = true;
      used[info.buffer] = made;
    }
    return waits ? Promise.all(used) : (used as DeviceBuffer[]);
  }

  #repack(
    { info, contents }: Wanted,
    tensor: DeviceTensor,
    buffers: readonly DeviceBuffer[],
    dims: readonly number[],
  ): DeviceBuffer | Promise<DeviceBuffer> {
    const made = tensor.inLayout([info.layout, ...contents].join(' '), () => {
      // At once, even in a chain: if that fails, its other calls still have the copy.
      const { executable, sources } = info;
      const from = sources.map((b) => buffers[b]!);
      const out = executable.runNow ? executable.runNow(from, dims) : executable.run(from, dims);
      return out instanceof Promise ? out.then(([b]) => b!) : out[0]!;
    });
    if (!(made instanceof Promise)) tensor.rememberLayout(info, contents, made);
    return made;
  }
}
