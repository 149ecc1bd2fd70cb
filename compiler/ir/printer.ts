// Text of the tensor IR, read back by parser.ts. One op a line:
//   %inverse : f32[N] = select(%zero, %0, %1)
//   %y : f32[M, N] = map {dims: [M, N]} (%i : i32, %j : i32) { ... yield %sum }
// A value has its author's name, made unique by a number (%d, %d.1), or else a running number.
import { shapeText } from './algebra.ts';
import { attrsText } from './attributes.ts';
import type { Func, Op, Region, Signature, Value } from './ir.ts';
import { typeText } from './ops.ts';

/** Gives every value its name in the text, in the order in which values are met. */
export class Namer {
  readonly #names = new Map<Value, string>();
  readonly #taken = new Set<string>();
  #next = 0;

  name(v: Value): string {
    let name = this.#names.get(v);
    if (name === undefined) {
      name = `%${this.#fresh(v.name)}`;
      this.#names.set(v, name);
    }
    return name;
  }

  #fresh(author: string | undefined): string {
    // A number at the end is a mark of ours, taken off so that text which is printed, read and
    // printed again stays the same.
    const base = author?.replace(/(\.\d+)+$/, '').replace(/[^\w$.\u0080-\uffff]/g, '_');
    if (!base || /^\d/.test(base)) return String(this.#next++);
    let name = base;
    for (let n = 1; this.#taken.has(name); n++) name = `${base}.${n}`;
    this.#taken.add(name);
    return name;
  }
}

/** `%a, %b` */
const list = (values: readonly Value[], names: Namer): string =>
  values.map((v) => names.name(v)).join(', ');
/** `%a : f32[N]` */
const typed = (v: Value, names: Namer): string => `${names.name(v)} : ${typeText(v.type)}`;

function regionText(r: Region, names: Namer, indent: string): string {
  const params = r.params.length ? `(${r.params.map((p) => typed(p, names)).join(', ')}) ` : '';
  const body = r.ops.map((op) => `${printOp(op, names, `${indent}  `)}\n`).join('');
  const yields = `yield ${list(r.yields, names)}`.trimEnd();
  return `${params}{\n${body}${indent}  ${yields}\n${indent}}`;
}

/** One op with its regions; without a Namer, values are named as this op alone shows them. */
export function printOp(op: Op, names: Namer = new Namer(), indent = ''): string {
  const operands = op.operands.length ? `(${list(op.operands, names)})` : '';
  const results = op.results.map((v) => typed(v, names)).join(', ');
  const attrs = attrsText(op.name, op.attrs);
  const regions = op.regions.map((r) => ` ${regionText(r, names, indent)}`).join('');
  return `${indent}${results} = ${op.name}${operands}${attrs && ` ${attrs}`}${regions}`;
}

/** Names of functions, parameters, fields: bare where they read as one word. */
const label = (name: string): string =>
  /^[A-Za-z_$\u0080-\uffff][\w$.\u0080-\uffff]*$/.test(name) ? name : JSON.stringify(name);

function signatureText(s: Signature, one: (v: Value) => string): string {
  if (s.kind === 'tensor') return `${label(s.name)} = ${one(s.values[0])}`;
  const fields = s.fields.map((f, i) => `${label(f)} = ${one(s.values[i]!)}`).join(', ');
  return `${label(s.name)} = encoded ${JSON.stringify(s.format)} ${shapeText(s.shape)} {${fields}}`;
}

export function printFunc(func: Func): string {
  const names = new Namer();
  const dims = func.dims.length ? `<${func.dims.join(', ')}>` : '';
  const lines = [
    `func ${label(func.name)}${dims}`,
    ...func.constraints.map(
      (c) => `  require ${c.poly} % ${c.modulus} == 0 ${JSON.stringify(c.reason)}`,
    ),
    ...func.params.map((p) => `  param ${signatureText(p, (v) => typed(v, names))}`),
    '{',
    ...func.body.ops.map((op) => printOp(op, names, '  ')),
    ...func.results.map((r) => `  return ${signatureText(r, (v) => names.name(v))}`),
    '}',
  ];
  return `${lines.join('\n')}\n`;
}
