// From an export of a kernel file to a function of the tensor IR: parameters from the annotations, formats and
// compile-time values from the request, the body by staging.
import type ts from 'typescript';
import type { FormatRef, Json } from '../artifact.ts';
import { CompileError, diagnostic, fail } from '../diagnostics/diagnostic.ts';
import { type Dim, Poly } from '../ir/algebra.ts';
import type { Func, Region, Signature, Value } from '../ir/ir.ts';
import { typeText } from '../ir/ops.ts';
import { checkReturn, readAnnotation } from './annotations.ts';
import {
  type Field, decodeTensor, encodeTensor, fieldShape, fieldsOf, packTensor, packedTypes, unpackTensor,
} from './formats.ts';
import { type SourceFiles, resolveEntry } from './modules.ts';
import { ProgramFiles } from './program.ts';
import { typescript } from './typescript.ts';
import {
  type Closure, type EncodedVal, type FormatVal, type Val, arrayVal, describeVal, is, recordVal, tensorVal,
} from './values.ts';

export interface StageRequest {
  readonly file: string;
  /** An exported function, or `<format>.encode`, `.decode`, `.pack`, `.unpack`. */
  readonly name: string;
  readonly formatArgs?: readonly Json[];
  readonly formats?: readonly FormatRef[];
  readonly statics?: readonly (Json | undefined)[];
}

export interface Staged {
  readonly func: Func;
  /** Fields of each format that the signature names, by its reference as JSON. */
  readonly fields: ReadonlyMap<string, readonly Field[]>;
}

export const refKey = (ref: FormatRef): string => JSON.stringify([ref.file, ref.name, ref.args ?? []]);

export function fromJson(v: Json | undefined): Val {
  if (Array.isArray(v)) return arrayVal(v.map(fromJson));
  if (typeof v === 'object' && v !== null) return recordVal(Object.entries(v).map(([k, x]) => [k, fromJson(x)]));
  return v as Val;
}

export function resolveFormat(files: ProgramFiles, ref: FormatRef): FormatVal {
  const v = files.export(resolveEntry(ref.file), ref.name);
  const made = ref.args ? files.stager.apply(v, ref.args.map(fromJson)) : v;
  if (!is(made, 'format'))
    return fail('Q3001', { what: `\`${ref.name}\` to be a format`, found: describeVal(made), expected: 'an exported constant made by format({...}), or a factory with its arguments' });
  return { ...made, ref };
}

/** Stages a request into a function. Throws CompileError with everything found. */
export function stage(files: SourceFiles, request: StageRequest): Staged {
  const program = new ProgramFiles(files);
  const path = resolveEntry(request.file);
  const s = program.stager;
  const [base, method] = request.name.split('.');
  s.file = path;
  const place = { file: path, start: 0, end: 0 };
  try {
    program.load(path);
    program.throwCollected();
    const maker = new Signatures(program);
    if (method !== undefined) {
      const ref: FormatRef = { file: request.file, name: base!, ...(request.formatArgs ? { args: request.formatArgs } : {}) };
      const f = at(program, place, () => resolveFormat(program, ref));
      return maker.finish(request.name, () => at(program, f.span, () => formatKernel(maker, f, method)));
    }
    const v = program.export(path, base!);
    if (!is(v, 'closure'))
      throw new CompileError([diagnostic('Q1013', place, { what: `The export \`${base}\` (${describeVal(v)})` })]);
    return maker.finish(request.name, () => kernel(maker, v, request));
  } catch (e) {
    // What follows from a recorded problem carries none of its own; record() passes on what is no diagnostic.
    program.ctx.record(e);
    throw new CompileError(program.ctx.diagnostics);
  }
}

function at<T>(p: ProgramFiles, span: { file: string; start: number; end: number }, body: () => T): T {
  const node = { getStart: () => span.start, getEnd: () => span.end } as ts.Node;
  return p.ctx.at(node, span.file, body);
}

/** Collects parameters and results of one function. */
class Signatures {
  readonly program: ProgramFiles;
  readonly params: Signature[] = [];
  readonly fields = new Map<string, readonly Field[]>();
  readonly #dims: string[] = [];

  constructor(program: ProgramFiles) {
    this.program = program;
  }

  #note(shape: readonly Dim[]): void {
    for (const d of shape) for (const a of d.leaves()) if (!this.#dims.includes(a.key)) this.#dims.push(a.key);
  }

  tensor(name: string, dtype: Value['type']['dtype'], shape: readonly Dim[]): Val {
    this.#note(shape);
    const value = this.program.ctx.builder.param({ dtype, shape }, name);
    this.params.push({ kind: 'tensor', name, values: [value] });
    return tensorVal(value);
  }

  encoded(name: string, f: FormatVal, shape: readonly Dim[]): EncodedVal {
    this.#note(shape);
    const s = this.program.stager;
    const fields = fieldsOf(s, f);
    const values = fields.map((field) =>
      s.ctx.builder.param({ dtype: field.dtype, shape: fieldShape(s, f, field, shape) }, `${name}.${field.name}`));
    this.params.push({
      kind: 'encoded', name, format: this.#register(f, fields), shape, fields: fields.map((x) => x.name), values,
    });
    return { tag: 'encoded', format: f, shape, fields: new Map(fields.map((x, i) => [x.name, values[i]!])) };
  }

  #register(f: FormatVal, fields: readonly Field[]): string {
    const ref = f.ref ?? { file: f.encode.module, name: '(unnamed)' };
    this.fields.set(refKey(ref), fields);
    return JSON.stringify(ref);
  }

  result(name: string, v: Val): Signature[] {
    const { ctx, stager } = this.program;
    if (is(v, 'encoded')) {
      const fields = fieldsOf(stager, v.format);
      return [{
        kind: 'encoded', name, format: this.#register(v.format, fields), shape: v.shape,
        fields: fields.map((f) => f.name), values: fields.map((f) => v.fields.get(f.name)!),
      }];
    }
    if (is(v, 'record')) return [...v.fields].flatMap(([k, x]) => this.result(k, x));
    if (is(v, 'array')) return v.items.flatMap((x, i) => this.result(`${i}`, x));
    return [{ kind: 'tensor', name, values: [ctx.tensor(v)] }];
  }

  finish(name: string, body: () => Val): Staged {
    const { ctx } = this.program;
    let results: Signature[] = [];
    const region = ctx.builder.region([], () => {
      const v = body();
      this.program.throwCollected();
      results = this.result('result', v);
      return results.flatMap((r) => [...r.values]);
    });
    const full: Region = {
      params: this.params.flatMap((p) => [...p.values]),
      ops: [...ctx.builder.prelude, ...region.ops],
      yields: region.yields,
    };
    return {
      func: { name, dims: this.#dims, constraints: ctx.constraints, params: this.params, results, body: full },
      fields: this.fields,
    };
  }
}

const N = Poly.dim('N');
const K = Poly.dim('K');

/** The four kernels that every format has, over a matrix [N, K]. */
function formatKernel(maker: Signatures, f: FormatVal, method: string): Val {
  const s = maker.program.stager;
  const shape = [N, K];
  switch (method) {
    case 'encode': {
      const x = maker.tensor('x', 'f32', shape);
      return encodeTensor(s, f, s.ctx.tensor(x));
    }
    case 'decode': return tensorVal(decodeTensor(s, maker.encoded('w', f, shape)));
    case 'pack': case 'unpack': {
      if (!f.pack || !f.unpack)
        return fail('Q3001', { what: 'a `layout` to be packed', found: 'a format without one', expected: 'layout: { pack, unpack }' });
      if (method === 'pack') return packTensor(s, maker.encoded('w', f, shape));
      const fields = fieldsOf(s, f);
      const arrays = new Map([...packedTypes(s, f)].map(([k, v]) => {
        const type = fieldShape(s, f, { name: k, level: 'block', dtype: v.type.dtype, shape: v.type.shape }, shape);
        return [k, s.ctx.tensor(maker.tensor(k, v.type.dtype, type))];
      }));
      const outer = new Map(fields.filter((x) => x.level !== 'block').map((x) =>
        [x.name, s.ctx.tensor(maker.tensor(x.name, x.dtype, fieldShape(s, f, x, shape)))]));
      return unpackTensor(s, f, arrays, shape, outer);
    }
    default: return fail('Q1004', { name: method, known: 'encode, decode, pack, unpack' });
  }
}

/** Names of the type parameters that extend Format. */
export function formatParams(node: ts.FunctionLikeDeclaration): string[] {
  const api = typescript();
  return (node.typeParameters ?? [])
    .filter((p) => p.constraint && api.isTypeReferenceNode(p.constraint) && p.constraint.typeName.getText() === 'Format')
    .map((p) => p.name.text);
}

function kernel(maker: Signatures, f: Closure, request: StageRequest): Val {
  const { program } = maker;
  const s = program.stager;
  s.file = f.module;
  const names = formatParams(f.node);
  const formats = new Map<string, FormatVal>();
  names.forEach((n, i) => {
    const ref = request.formats?.[i];
    if (ref) formats.set(n, s.ctx.at(f.node, f.module, () => resolveFormat(program, ref)));
  });
  const args = f.node.parameters.map((p, i): Val => {
    const name = p.name.getText();
    return s.ctx.at(p, f.module, () => {
      const a = readAnnotation(p.type);
      if (a.kind === 'static') {
        const given = request.statics?.[i];
        if (given !== undefined) return fromJson(given);
        if (p.initializer || p.questionToken) return undefined;
        return fail('Q1015', { param: name, found: p.type ? p.type.getText() : 'no type' });
      }
      if (!a.shape) return fail('Q1015', { param: name, found: p.type!.getText() });
      if (a.kind === 'tensor') {
        if (!a.dtype) return fail('Q1015', { param: name, found: p.type!.getText() });
        return maker.tensor(name, a.dtype, a.shape);
      }
      const format = a.constant ? program.export(f.module, a.format!) : formats.get(a.format ?? '');
      if (!is(format, 'format')) return fail('Q3005', { param: name });
      return maker.encoded(name, format, a.shape);
    });
  });
  const result = s.apply(f, args);
  if (f.node.type) s.ctx.at(f.node.type, f.module, () => checkReturn(f.name, f.node.type, result));
  if (result === undefined)
    s.ctx.at(f.node, f.module, () => fail('Q2007', { what: `The result of \`${f.name}\``, found: 'nothing', expected: 'a tensor, an encoded tensor, or a record of them' }));
  return result;
}

export { typeText };
