// One call of a kernel: arguments are checked, those of the host uploaded, dims solved from the shapes, weights brought
// into the layouts that the code wants, scratch reserved and freed again. Every complaint names the kernel, the argument, what was found and what was expected.
import { isFloat } from '../../compiler/ir/dtype.ts';
import { logicalArrayType, type NumberArray, naturalDType } from '../../runtime/pack.ts';
import { PADDING } from '../../runtime/devices/allocator.ts';
import { underWay } from './calls.ts';
import { crewFor } from './crew.ts';
import { listText, raise, reasonText } from './errors.ts';
import { type Code, isTrap } from './load.ts';
import { release, reserve } from './memory.ts';
import { type ArgSpec, type KernelSpec, sizes, type TensorSpec } from './spec.ts';
import { checkHost, Encoded, filled, type HostTensor, Tensor } from './tensor.ts';

type Result = Tensor | Encoded | HostTensor;
export type Results = Result | readonly Result[] | { readonly [name: string]: Result };

const shapeText = (s: ArgSpec): string =>
  typeof s.shape === 'function' ? 'another shape' : `[${s.shape.join(', ')}]`;
const wanted = (s: ArgSpec): string =>
  `${'format' in s ? `a tensor encoded as ${s.format}` : s.dtype} ${shapeText(s)}`;

function found(x: unknown): string {
  if (x instanceof Tensor) return `a tensor ${x.dtype}${listText(x.shape)}`;
  if (x instanceof Encoded) return `a tensor encoded as ${x.format} ${listText(x.shape)}`;
  if (ArrayBuffer.isView(x)) return `a ${x.constructor.name} without a shape`;
  return x === null ? 'null' : Array.isArray(x) ? 'an array' : `a value of type ${typeof x}`;
}

const isHost = (x: unknown): x is HostTensor =>
  typeof x === 'object' && x !== null && 'data' in x && 'shape' in x && !(x instanceof Tensor);

const SCALAR: readonly number[] = [];

export interface CallOptions {
  /** The result may come later: it may be computed by other threads, and code be loaded. */
  readonly later?: boolean;
  /** Dims that no argument says. */
  readonly dims?: readonly number[];
}

/** Runs a kernel; a promise where the code answers later, or may and does. */
export function call(
  spec: KernelSpec,
  code: Code,
  args: readonly unknown[],
  out: unknown,
  options: CallOptions = {},
): Results | Promise<Results> {
  const { name, dims: names } = spec;
  const dims = options.dims ? [...options.dims] : names.map(() => -1);
  const sources: string[] = [];
  if (args.length !== spec.params.length) {
    const list = spec.params.map((p) => p.name).join(', ');
    raise('Q5001', `${name}: ${args.length} arguments, expected ${name}(${list})`);
  }
  spec.params.forEach((p, i) => {
    const shape = accept(`${name}: argument ${p.name}`, p, args[i]);
    if (typeof p.shape !== 'function') solve(spec, p, p.shape, shape, dims, sources);
  });
  for (const r of spec.requires ?? []) {
    const value = r.value(...dims);
    if (value % r.multiple !== 0)
      raise(
        'Q5006',
        `${name}: ${r.text} = ${value} must be a multiple of ${r.multiple}, ${r.reason}`,
      );
  }

  const inputs: Tensor[] = [];
  const uploads: Tensor[] = [];
  const fresh: (Tensor | Encoded)[] = [];
  const temps: number[] = [];
  const end = (failed: boolean): void => {
    for (const t of temps) release(t);
    for (const t of uploads) t.dispose();
    if (failed) for (const t of fresh) t.dispose();
  };
  let failed = true;
  let pending: Promise<Results> | undefined;
  try {
    spec.params.forEach((p, i) => bind(spec, p, args[i], dims, inputs, uploads));
    const { wide, packed = [] } = code;
    if (wide && packed.some((p) => p.normal?.some((i) => !inputs[i]!.isNormal()))) {
      if (wide.code) return call(spec, wide.code, args, out, options);
      if (options.later) return wide.load().then((c) => call(spec, c, args, out, options));
      raise('Q5108', `${name}: the code for such weights is not loaded; await init() or ready()`);
    }
    const addresses = inputs.map((t) => t.address(name));
    const used = [...addresses];
    for (const p of packed)
      used[p.at] = inputs[p.at]!.inLayout(
        p.layout,
        p.sources.map((i) => inputs[i]!.contents).join(' '),
        () => {
          const made = reserve(p.size(...dims));
          p.run(...p.sources.map((i) => addresses[i]!), made, ...dims);
          return made;
        },
      );
    const copies: (() => void | Promise<void>)[] = [];
    const results = outputs(spec, args, out, dims, used, uploads, fresh, copies);
    const running = start(code, used, temps, dims, options.later ?? false);
    const done = running ? running.then(() => copyAll(copies)) : copyAll(copies);
    failed = false;
    if (!done) return results;
    pending = underWay(done, end).then(
      () => results,
      (e) => stopped(name, e),
    );
    return pending;
  } catch (e) {
    return stopped(name, e);
  } finally {
    if (!pending) end(failed);
  }
}

/** A trap, as an error of the kernel that met it. */
function stopped(name: string, e: unknown): never {
  if (!isTrap(e)) throw e;
  return raise('Q5015', `${name}: the kernel stopped: ${reasonText(e)}`, e);
}

function copyAll(copies: readonly (() => void | Promise<void>)[]): void | Promise<void> {
  const waits = copies.map((copy) => copy()).filter((c) => c instanceof Promise);
  if (waits.length) return Promise.all(waits).then(() => undefined);
}

/** Starts the code, on several threads where that is worth it. Scratch is reserved here: each thread has its own of some. */
function start(
  code: Code,
  addresses: readonly number[],
  temps: number[],
  dims: readonly number[],
  later: boolean,
): void | Promise<void> {
  const { threads } = code;
  const team = threads && crewFor(threads.work(...dims));
  const many = team && (later || team.blocking) ? team : undefined;
  const args = [...addresses];
  const slices = args.map(() => 0);
  for (const [i, size] of (code.temps?.(...dims) ?? []).entries()) {
    // No two threads write the same cache line, and a vector may be read past the end.
    const slice = many && threads!.slices.includes(i) ? Math.ceil((size + PADDING) / 64) * 64 : 0;
    const address = reserve(slice ? slice * many!.size : size);
    temps.push(address);
    args.push(address);
    slices.push(slice);
  }
  args.push(...code.constants, ...dims);
  if (!many) return ((later && code.later) || code.run)(...args);
  while (slices.length < args.length) slices.push(0);
  return many.run(threads!.kernel, args, slices);
}

/** The shape of an argument of the right kind. */
function accept(where: string, p: ArgSpec, arg: unknown): readonly number[] {
  const wrong = (): never => raise('Q5002', `${where} is ${found(arg)}, expected ${wanted(p)}`);
  if ('format' in p) {
    if (!(arg instanceof Encoded)) return wrong();
    if (arg.format !== p.format) wrong();
    return arg.shape;
  }
  if (arg instanceof Tensor) {
    if (arg.dtype !== p.dtype)
      raise('Q5003', `${where} is a tensor of ${arg.dtype}, expected ${p.dtype}`);
    return arg.shape;
  }
  if (typeof arg === 'number') return SCALAR;
  if (!isHost(arg)) return wrong();
  checkHost(arg.data, arg.shape, where);
  const own = naturalDType(arg.data);
  if (!Array.isArray(arg.data) && isFloat(own) !== isFloat(p.dtype))
    raise('Q5003', `${where} holds ${own}, expected ${p.dtype}`);
  return arg.shape;
}

function solve(
  spec: KernelSpec,
  p: ArgSpec,
  want: readonly (number | string)[],
  shape: readonly number[],
  dims: number[],
  sources: string[],
): void {
  const where = `${spec.name}: argument ${p.name}`;
  if (shape.length !== want.length)
    raise('Q5004', `${where} has the shape ${listText(shape)}, expected ${shapeText(p)}`);
  want.forEach((w, axis) => {
    const size = shape[axis]!;
    const d = typeof w === 'string' ? spec.dims.indexOf(w) : -1;
    if (d >= 0 && dims[d] === -1) {
      dims[d] = size;
      sources[d] = p.name;
      return;
    }
    const known = d >= 0 ? dims[d] : w;
    if (size === known) return;
    const why = d >= 0 ? `${w} = ${known} from argument ${sources[d]}` : `it must be ${w}`;
    raise('Q5005', `${where}: axis ${axis} is ${size}, but ${why}`);
  });
}

/** Adds the tensors of an argument, uploading what is still with the caller. */
function bind(
  spec: KernelSpec,
  p: ArgSpec,
  arg: unknown,
  dims: readonly number[],
  inputs: Tensor[],
  uploads: Tensor[],
): void {
  const where = `${spec.name}: argument ${p.name}`;
  if ('format' in p) {
    bindFields(where, p.fields, (arg as Encoded).fields, spec, dims, (t, at) => {
      t.address(at);
      inputs.push(t);
    });
    return;
  }
  if (arg instanceof Tensor) {
    if (typeof p.shape === 'function') checkShape(where, arg, p, spec, dims);
    arg.address(where);
    inputs.push(arg);
    return;
  }
  const host = typeof arg === 'number' ? { data: [arg], shape: SCALAR } : (arg as HostTensor);
  const made = filled(p.dtype, host.shape, host.data, where);
  uploads.push(made);
  if (typeof p.shape === 'function') checkShape(where, made, p, spec, dims);
  inputs.push(made);
}

function bindFields(
  where: string,
  fields: readonly TensorSpec[],
  given: Encoded['fields'],
  spec: KernelSpec,
  dims: readonly number[],
  found: (part: Tensor, where: string) => void,
): void {
  for (const f of fields) {
    const part = given[f.name];
    const at = `${where}, field ${f.name}`;
    if (!part) return raise('Q5012', `${at} is missing`);
    checkShape(at, part, f, spec, dims);
    found(part, at);
  }
}

function checkShape(
  where: string,
  t: Tensor,
  s: TensorSpec,
  spec: KernelSpec,
  dims: readonly number[],
): void {
  const want = sizes(s.shape, spec.dims, dims);
  if (
    t.dtype === s.dtype &&
    t.shape.length === want.length &&
    t.shape.every((n, i) => n === want[i])
  )
    return;
  raise('Q5012', `${where} is ${found(t)}, expected ${s.dtype}${listText(want)}`);
}

/** The results: new tensors, or those of the caller. Their addresses follow those of the arguments. */
function outputs(
  spec: KernelSpec,
  args: readonly unknown[],
  out: unknown,
  dims: readonly number[],
  addresses: number[],
  uploads: Tensor[],
  fresh: (Tensor | Encoded)[],
  copies: (() => void | Promise<void>)[],
): Results {
  const { results } = spec;
  const lone = spec.returns === undefined;
  const values = results.map((r, index): Result => {
    const shape = sizes(r.shape, spec.dims, dims);
    if (out === undefined) {
      const made = 'format' in r ? newEncoded(r, spec, dims) : new Tensor(r.dtype, shape);
      fresh.push(made);
      for (const t of made instanceof Tensor ? [made] : Object.values(made.fields))
        addresses.push(t.address(spec.name));
      return made;
    }
    const parts = out as { readonly [part: string]: unknown } | null;
    const own = lone ? out : parts?.[spec.returns === 'tuple' ? index : r.name];
    const where = `${spec.name}: output${lone ? '' : ` ${r.name}`}`;
    if ('format' in r) {
      if (!(own instanceof Encoded) || own.format !== r.format)
        return raise('Q5002', `${where} is ${found(own)}, expected ${wanted(r)}`);
      bindFields(where, r.fields, own.fields, spec, dims, (t, at) => addresses.push(t.target(at)));
      return own;
    }
    const target = { ...r, shape: () => shape };
    if (own instanceof Tensor) {
      checkShape(where, own, target, spec, dims);
      // A kernel reads its arguments while it writes.
      const i = args.indexOf(own);
      if (i >= 0) raise('Q5016', `${where} is also argument ${spec.params[i]!.name}`);
      addresses.push(own.target(where));
      return own;
    }
    if (!isHost(own) || !(own.data instanceof logicalArrayType(r.dtype)))
      return raise('Q5002', `${where} is ${found(own)}, expected ${r.dtype}${listText(shape)}`);
    checkHost(own.data, own.shape, where);
    const made = new Tensor(r.dtype, [...own.shape]);
    uploads.push(made);
    checkShape(where, made, target, spec, dims);
    addresses.push(made.address(where));
    const into = own.data as NumberArray & { set(from: ArrayLike<number>): void };
    copies.push(() => {
      const values = made.data();
      return values instanceof Promise ? values.then((v) => into.set(v)) : into.set(values);
    });
    return own;
  });
  if (out !== undefined) return out as Results;
  if (lone) return values[0]!;
  return spec.returns === 'tuple'
    ? values
    : Object.fromEntries(results.map((r, i) => [r.name, values[i]!]));
}

function newEncoded(
  r: Extract<ArgSpec, { format: string }>,
  spec: KernelSpec,
  dims: readonly number[],
): Encoded {
  const fields: Record<string, Tensor> = {};
  for (const f of r.fields)
    fields[f.name] = new Tensor(f.dtype, sizes(f.shape, spec.dims, dims) as number[]);
  return new Encoded(r.format, sizes(r.shape, spec.dims, dims), fields);
}
