// Types written in the source: what Tensor<f32, [M, K]> or Encoded<F, [N, K]> says about a parameter.
// Only the syntax is read; aliases of the same file are followed.
import type ts from 'typescript';
import { fail } from '../diagnostics/diagnostic.ts';
import { type Dim, Poly, shapeText } from '../ir/algebra.ts';
import { type DType, isDType } from '../ir/dtype.ts';
import { typeText } from '../ir/ops.ts';
import type { Stager } from './stager.ts';
import { typescript } from './typescript.ts';
import { type Val, describeVal, is } from './values.ts';

export type Annotation =
  | { readonly kind: 'tensor'; readonly dtype?: DType; readonly shape?: readonly Dim[] }
  /** `format`: the name of a type parameter, or of a constant after `typeof`. */
  | { readonly kind: 'encoded'; readonly format?: string; readonly constant: boolean; readonly shape?: readonly Dim[] }
  | { readonly kind: 'static' };

function aliasOf(node: ts.TypeNode, name: string): ts.TypeNode | undefined {
  const api = typescript();
  const source = node.getSourceFile();
  for (const st of source.statements)
    if (api.isTypeAliasDeclaration(st) && st.name.text === name && !st.typeParameters) return st.type;
  return undefined;
}

/** The dims of a tuple type: literals and names of type parameters. */
function dimsOf(node: ts.TypeNode | undefined): readonly Dim[] | undefined {
  const api = typescript();
  if (!node || !api.isTupleTypeNode(node)) return undefined;
  const out: Dim[] = [];
  for (const e of node.elements) {
    const t = api.isNamedTupleMember(e) ? e.type : e;
    if (api.isLiteralTypeNode(t) && api.isNumericLiteral(t.literal)) out.push(Poly.of(Number(t.literal.text)));
    else if (api.isTypeReferenceNode(t) && api.isIdentifier(t.typeName)) {
      const alias = aliasOf(t, t.typeName.text);
      if (alias && api.isLiteralTypeNode(alias) && api.isNumericLiteral(alias.literal))
        out.push(Poly.of(Number(alias.literal.text)));
      else out.push(Poly.dim(t.typeName.text));
    } else return undefined;
  }
  return out;
}

export function readAnnotation(node: ts.TypeNode | undefined): Annotation {
  const api = typescript();
  if (!node) return { kind: 'static' };
  if (api.isParenthesizedTypeNode(node)) return readAnnotation(node.type);
  if (!api.isTypeReferenceNode(node) || !api.isIdentifier(node.typeName)) return { kind: 'static' };
  const name = node.typeName.text;
  const [first, second] = node.typeArguments ?? [];
  const nameOf = (t: ts.TypeNode | undefined): string | undefined =>
    t && api.isTypeReferenceNode(t) && api.isIdentifier(t.typeName) ? t.typeName.text : undefined;
  if (name === 'Tensor' || name === 'Scalar') {
    const d = nameOf(first);
    const dtype = d && isDType(d) ? d : undefined;
    return { kind: 'tensor', ...(dtype ? { dtype } : {}), ...(name === 'Scalar' ? { shape: [], dtype: dtype ?? 'f32' } : { shape: dimsOf(second) }) };
  }
  if (name === 'Encoded') {
    if (first && api.isTypeQueryNode(first) && api.isIdentifier(first.exprName))
      return { kind: 'encoded', format: first.exprName.text, constant: true, shape: dimsOf(second) };
    return { kind: 'encoded', format: nameOf(first), constant: false, shape: dimsOf(second) };
  }
  const alias = aliasOf(node, name);
  return alias ? readAnnotation(alias) : { kind: 'static' };
}

/**
 * Checks an argument of an inner call against the annotation. Names of dims bind on first use within the call
 * and must agree afterwards; `dims` carries them from parameter to parameter.
 */
export function checkArgument(s: Stager, p: ts.ParameterDeclaration, v: Val, dims: Map<string, Dim>): void {
  const a = readAnnotation(p.type);
  if (a.kind === 'static') return;
  const what = `The argument \`${p.name.getText()}\``;
  if (a.kind === 'encoded') {
    if (!is(v, 'encoded')) fail('Q2007', { what, found: describeVal(v), expected: p.type!.getText() });
    return;
  }
  if (is(v, 'encoded')) fail('Q2007', { what, found: describeVal(v), expected: `${p.type!.getText()}: decode(w) gives its values` });
  if (!is(v, 'tensor')) return;
  const { dtype, shape } = v.value.type;
  if (a.dtype && a.dtype !== dtype && !(a.dtype === 'f32' && dtype !== 'bool'))
    fail('Q2007', { what, found: typeText(v.value.type), expected: p.type!.getText() });
  if (!a.shape) return;
  const mismatch = (): never => fail('Q2007', { what, found: typeText(v.value.type), expected: p.type!.getText() });
  if (a.shape.length !== shape.length) mismatch();
  a.shape.forEach((want, i) => {
    const have = shape[i]!;
    const [atom] = want.atoms();
    if (want.constant !== undefined) {
      if (!want.equals(have)) mismatch();
    } else if (atom) {
      const bound = dims.get(atom.key);
      if (bound && !bound.equals(have))
        fail('Q2007', { what, found: typeText(v.value.type), expected: `${p.type!.getText()} with ${atom.key} = ${bound}` });
      dims.set(atom.key, have);
    }
  });
  void s;
}

/** Compares a declared return type with the staged result; dims are those of the signature. */
export function checkReturn(name: string, node: ts.TypeNode | undefined, v: Val): void {
  if (!node) return;
  const a = readAnnotation(node);
  const what = `The result of \`${name}\``;
  if (a.kind === 'tensor' && is(v, 'tensor')) {
    const { dtype, shape } = v.value.type;
    const same = !a.shape || (a.shape.length === shape.length && a.shape.every((d, i) => d.equals(shape[i]!)));
    if (!same || (a.dtype && a.dtype !== dtype))
      fail('Q2007', { what, found: typeText(v.value.type), expected: node.getText() });
  } else if (a.kind === 'encoded' && is(v, 'encoded')) {
    if (a.shape && !a.shape.every((d, i) => v.shape[i] && d.equals(v.shape[i]!)))
      fail('Q2007', { what, found: shapeText(v.shape), expected: node.getText() });
  } else if (a.kind !== 'static') fail('Q2007', { what, found: describeVal(v), expected: node.getText() });
}
