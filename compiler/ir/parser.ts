// Reads tensor IR text (see printer.ts) into a Func: resolves names, completes attributes and holds
// every type that is written against the type rule of its op. Faults are TextErrors with line and
// column.
import type { IToken } from 'chevrotain';
import { diagnostic, noSpan, RuleError, type Span } from '../diagnostics/diagnostic.ts';
import { sameDims } from './algebra.ts';
import { type AttrValue, attrForms } from './attributes.ts';
import type { DType } from './dtype.ts';
import {
  type FuncNode,
  labelText,
  type OpNode,
  type RegionNode,
  readFunc,
  type SignatureNode,
  type TypedName,
} from './grammar.ts';
import type { Func, Op, Region, Signature, TensorType, Value } from './ir.ts';
import { type OpAttrs, type OpName, ops, type TypeRule, typeText } from './ops.ts';
import { errorAt } from './parse-poly.ts';
import { operandCounts, regionCounts } from './verifier.ts';

export { TextError } from './parse-poly.ts';

/** `file` is what the spans of the ops will name; they are offsets into `text`. */
export function parseFunc(text: string, file = ''): Func {
  return new FuncReader(file).func(readFunc(text));
}

/** Holds the names in view: one scope a region, none of which may define a name a second time. */
class FuncReader {
  readonly #file: string;
  readonly #scopes: Map<string, Value>[] = [new Map()];
  readonly #seen = new Set<string>();
  #nextId = 0;

  constructor(file: string) {
    this.#file = file;
  }

  func(node: FuncNode): Func {
    const params = node.params.map((p) =>
      signature(
        p,
        p.values.map((v) => this.#define(v)),
      ),
    );
    const body = node.ops.map((op) => this.#op(op));
    const results = node.results.map((r) =>
      signature(
        r,
        r.values.map((t) => this.#use(t)),
      ),
    );
    return {
      name: labelText(node.name),
      dims: node.dims.map((d) => d.image),
      constraints: node.constraints.map((c) => ({ ...c, reason: labelText(c.reason) })),
      params,
      results,
      body: {
        params: params.flatMap((p) => p.values),
        ops: body,
        yields: results.flatMap((r) => r.values),
      },
    };
  }

  #define({ name, dtype, shape }: TypedName): Value {
    if (this.#seen.has(name.image)) throw errorAt(name, `${name.image} is defined twice`);
    this.#seen.add(name.image);
    const author = name.image.slice(1).replace(/(\.\d+)+$/, '');
    const value: Value = {
      id: this.#nextId++,
      type: { dtype: dtype.image as DType, shape },
      ...(/^\d/.test(author) ? {} : { name: author }),
    };
    this.#scopes.at(-1)!.set(name.image, value);
    return value;
  }

  #use(t: IToken): Value {
    for (let i = this.#scopes.length - 1; i >= 0; i--) {
      const value = this.#scopes[i]!.get(t.image);
      if (value) return value;
    }
    const why = this.#seen.has(t.image) ? 'is not visible here' : 'is not defined';
    throw errorAt(t, `${t.image} ${why}`);
  }

  #region(node: RegionNode): Region {
    this.#scopes.push(new Map());
    const params = node.params.map((p) => this.#define(p));
    const body = node.ops.map((op) => this.#op(op));
    const yields = node.yields.map((t) => this.#use(t));
    this.#scopes.pop();
    return { params, ops: body, yields };
  }

  #op(node: OpNode): Op {
    const name = node.name.image as OpName;
    const operands = node.operands.map((t) => this.#use(t));
    const [least, most] = operandCounts[name];
    if (operands.length < least || operands.length > most)
      throw errorAt(node.name, `${name} does not take ${operands.length} operands`);
    const regions = node.regions.map((r) => this.#region(r));
    if (regions.length !== regionCounts(name))
      throw errorAt(node.name, `${name} has ${regionCounts(name)} regions, not ${regions.length}`);
    // Results come into view only now: an op does not see its own.
    const results = node.results.map((r) => this.#define(r));
    const attrs = attributes(node, results[0]!.type);
    checkTypes(node, name, operands, attrs, regions, results);
    const op: Op = { name, operands, attrs, regions, results, span: this.#span(node) };
    results.forEach((v, index) => {
      v.def = { op, index };
    });
    return op;
  }

  #span({ results, end }: OpNode): Span {
    return { file: this.#file, start: results[0]!.name.startOffset, end: end.endOffset! + 1 };
  }
}

/** A parameter or result of the function, once its values are known. */
function signature(
  { label, encoded }: SignatureNode<unknown>,
  values: readonly Value[],
): Signature {
  const name = labelText(label);
  if (!encoded) return { kind: 'tensor', name, values: [values[0]!] };
  const { format, shape, fields } = encoded;
  return {
    kind: 'encoded',
    name,
    format: labelText(format),
    shape,
    fields: fields.map(labelText),
    values,
  };
}

/** The attributes that are written, and those that the type of the result implies. */
function attributes(node: OpNode, type: TensorType): OpAttrs[OpName] {
  const name = node.name.image as OpName;
  const form = attrForms[name];
  const out: Record<string, AttrValue> = {};
  for (const [key, kind] of Object.entries(form.written)) {
    const value = node.attrs.get(key);
    if (value !== undefined) out[key] = value;
    else if (kind === 'flag') out[key] = false;
    else if (!form.optional?.includes(key))
      throw errorAt(node.name, `${name} needs the attribute ${key}`);
  }
  const missing = form.complete?.(type, out);
  if (missing && Object.values(missing).includes(undefined))
    throw errorAt(node.name, `${name} cannot give ${typeText(type)}`);
  return { ...out, ...missing } as unknown as OpAttrs[OpName];
}

/**
 * Runs the type rule: what is written must be what it gives, so that text cannot hold an ill-typed
 * op.
 */
function checkTypes(
  node: OpNode,
  name: OpName,
  operands: readonly Value[],
  attrs: OpAttrs[OpName],
  regions: readonly Region[],
  results: readonly Value[],
): void {
  let types: readonly TensorType[];
  try {
    const rule = ops[name].type as TypeRule<OpName>;
    types = rule(
      operands.map((v) => v.type),
      attrs,
      regions,
    );
  } catch (e) {
    if (!(e instanceof RuleError)) throw e;
    const { message, found } = diagnostic(e.code, noSpan, e.facts);
    throw errorAt(node.name, found ? `${message} (${found})` : message);
  }
  if (types.length !== results.length)
    throw errorAt(node.name, `${name} gives ${types.length} results, not ${results.length}`);
  types.forEach((t, i) => {
    const written = results[i]!.type;
    if (t.dtype !== written.dtype || !sameDims(t.shape, written.shape))
      throw errorAt(
        node.results[i]!.name,
        `${node.results[i]!.name.image} is ${typeText(t)}, not ${typeText(written)}`,
      );
  });
}
