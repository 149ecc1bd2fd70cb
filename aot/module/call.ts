// One call of a kernel: arguments are checked, those of the host uploaded, dims solved from the shapes, scratch
// reserved and freed again. Every complaint names the kernel, the argument, what was found and what was expected.
import { type DType, isFloat } from '../../compiler/ir/dtype.ts';
import { logicalArrayType, type NumberArray, naturalDType } from '../../runtime/pack.ts';
import { listText, raise, reasonText } from './errors.ts';
import { wasm } from './host.ts';
import type { Code } from './load.ts';
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

/** Runs a kernel. `given` are dims that no argument says. */
export function call(
  spec: KernelSpec,
  code: Code,
  args: readonly unknown[],
  out?: unknown,
  given?: readonly number[],
): Results {
  const { name, dims: names } = spec;
  const dims = given ? [...given] : names.map(() => -1);
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

  const addresses: number[] = [];
  const uploads: Tensor[] = [];
  const fresh: (Tensor | Encoded)[] = [];
  const temps: number[] = [];
  let done = false;
  try {
    spec.params.forEach((p, i) => bind(spec, p, args[i], dims, addresses, uploads));
    const copies: (() => void)[] = [];
    const results = outputs(spec, args, out, dims, addresses, uploads, fresh, copies);
    for (const size of spec.temps?.(...dims) ?? []) temps.push(reserve(size));
    try {
      code.run(...addresses, ...temps, ...code.constants, ...dims);
    } catch (e) {
      if (!(e instanceof wasm().RuntimeError)) throw e;
      raise('Q5015', `${name}: the kernel stopped: ${reasonText(e)}`, e);
    }
    for (const copy of copies) copy();
    done = true;
    return results;
  } finally {
    for (const t of temps) release(t);
    for (const t of uploads) t.dispose();
    if (!done) for (const t of fresh) t.dispose();
  }
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

/** Adds the addresses of an argument's buffers, uploading what is still with the caller. */
function bind(
  spec: KernelSpec,
  p: ArgSpec,
  arg: unknown,
  dims: readonly number[],
  addresses: number[],
  uploads: Tensor[],
): void {
  const where = `${spec.name}: argument ${p.name}`;
  if ('format' in p) {
    bindFields(where, p.fields, (arg as Encoded).fields, spec, dims, addresses);
    return;
  }
  if (arg instanceof Tensor) {
    if (typeof p.shape === 'function') checkShape(where, arg, p, spec, dims);
    addresses.push(arg.address(where));
    return;
  }
  const host = typeof arg === 'number' ? { data: [arg], shape: SCALAR } : (arg as HostTensor);
  const made = filled(p.dtype, host.shape, host.data, where);
  uploads.push(made);
  if (typeof p.shape === 'function') checkShape(where, made, p, spec, dims);
  addresses.push(made.address(where));
}

function bindFields(
  where: string,
  fields: readonly TensorSpec[],
  given: Encoded['fields'],
  spec: KernelSpec,
  dims: readonly number[],
  addresses: number[],
): void {
  for (const f of fields) {
    const part = given[f.name];
    const at = `${where}, field ${f.name}`;
    if (!part) return raise('Q5012', `${at} is missing`);
    checkShape(at, part, f, spec, dims);
    addresses.push(part.address(at));
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
  copies: (() => void)[],
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
      bindFields(where, r.fields, own.fields, spec, dims, addresses);
      return own;
    }
    const target = { ...r, shape: () => shape };
    if (own instanceof Tensor) {
      checkShape(where, own, target, spec, dims);
      // A kernel reads its arguments while it writes.
      const i = args.indexOf(own);
      if (i >= 0) raise('Q5016', `${where} is also argument ${spec.params[i]!.name}`);
      addresses.push(own.address(where));
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
    copies.push(() => into.set(made.data()));
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

export type { DType };
