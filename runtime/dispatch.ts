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
import { DeviceTensor, type EncodedTensor, Given } from './tensor.ts';

interface Packed {
  readonly buffer: number;
  readonly sources: readonly number[];
  readonly layout: string;
  /** Buffers of half floats that the kernel reads as if all were zero or normal. */
  readonly normal: readonly number[];
  readonly executable: Executable;
}

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
  readonly #packed: ReadonlyMap<number, Packed>;
  readonly #normal: ReadonlySet<number>;
  readonly #makeWide: (() => Promise<Plan>) | undefined;
  #wide: Promise<Plan> | undefined;
  readonly #within: PlanOptions['within'];
  readonly #others = new Map<string, Promise<Plan>>();

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
    this.#packed = new Map(packed.map((p) => [p.buffer, p]));
    this.#normal = new Set(packed.flatMap((p) => p.normal));
    this.#within = options.within;
    this.#params = new Params(kernel, options.device, manifest, asked);
    this.#results = new ResultMaker(options.device, manifest);
    this.#solver = new DimSolver({ ...manifest, name: kernel }, manifest.params);
  }

  /** Checks the arguments, uploads those of the host, runs, and wraps the results. */
  run(given: readonly Argument[]): Results | Promise<Results> {
    const args = given.some((a) => a instanceof Given) ? this.#taken(given) : given;
    const shapes: (readonly number[])[] = [];
    const { list } = this.#params;
    for (let i = 0; i < list.length; i++) shapes.push(this.#params.accept(list[i]!, args[i]!));
    const dims: number[] = [];
    this.#solver.solve(shapes, dims);
    const lacks = this.#within && this.#executable.lacks?.(dims);
    if (lacks) return this.#for(lacks).then((plan) => plan.run(given));
    if (this.#packed.size && this.#makeWide) {
      const normal = this.#areNormal(args);
      if (normal instanceof Promise) return normal.then(() => this.run(given));
      if (!normal) {
        this.#wide ??= this.#makeWide();
        return this.#wide.then((plan) => plan.run(given));
      }
    }

    const buffers: DeviceBuffer[] = [];
    const uploads: DeviceTensor[] = [];
    const release = (): void => {
      for (const t of uploads) t.dispose();
    };
    let running: readonly DeviceBuffer[] | Promise<readonly DeviceBuffer[]>;
    const giveUp =
      args === given ? (_made: boolean) => {} : (made: boolean) => this.#giveUp(given, made);
    try {
      for (let i = 0; i < list.length; i++)
        this.#params.bind(list[i]!, args[i]!, dims, buffers, uploads);
      const used = this.#packed.size ? this.#laidOut(args, buffers, dims) : buffers;
      running =
        used instanceof Promise
          ? used.then((all) => this.#executable.run(all, dims))
          : this.#executable.run(used, dims);
    } catch (e) {
      release();
      giveUp(false);
      throw e;
    }
    if (running instanceof Promise || this.#check)
      return this.#finish(running, buffers, dims).then(
        (results) => {
          release();
          giveUp(true);
          return results;
        },
        (e: unknown) => {
          release();
          giveUp(false);
          throw e;
        },
      );
    release();
    giveUp(true);
    return this.#results.wrap(running, dims);
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
    let at = 0;
    for (const [i, p] of this.#params.list.entries()) {
      if (p.info.kind !== 'encoded') {
        at += 1;
        continue;
      }
      const { fields } = args[i] as EncodedTensor;
      for (const f of p.fields) {
        const normal = !this.#normal.has(at++) || (fields[f.info.name]?.isNormal() ?? true);
        if (normal !== true) return normal;
      }
    }
    return true;
  }

  /** The buffers with those replaced that the kernel wants in layouts of its own. */
  #laidOut(
    args: readonly Argument[],
    buffers: readonly DeviceBuffer[],
    dims: readonly number[],
  ): readonly DeviceBuffer[] | Promise<readonly DeviceBuffer[]> {
    /** The field of an encoded argument that a buffer belongs to. */
    const tensors = this.#params.list.flatMap((p, i): (DeviceTensor | undefined)[] => {
      if (p.info.kind !== 'encoded') return [undefined];
      const { fields } = args[i] as EncodedTensor;
      return p.fields.map((f) => fields[f.info.name]);
    });
    const all = buffers.map((buffer, at): DeviceBuffer | Promise<DeviceBuffer> => {
      const wanted = this.#packed.get(at);
      if (!wanted) return buffer;
      const others = wanted.sources.filter((s) => s !== at).map((s) => tensors[s]!.contents);
      return tensors[at]!.inLayout([wanted.layout, ...others].join(' '), () => {
        // At once, even in a chain: if that fails, its other calls still have the copy.
        const { executable, sources } = wanted;
        const from = sources.map((s) => buffers[s]!);
        const made = executable.runNow ? executable.runNow(from, dims) : executable.run(from, dims);
        return made instanceof Promise ? made.then(([b]) => b!) : made[0]!;
      });
    });
    const settled = (b: DeviceBuffer | Promise<DeviceBuffer>): b is DeviceBuffer =>
      !(b instanceof Promise);
    return all.every(settled) ? all : Promise.all(all);
  }
}
