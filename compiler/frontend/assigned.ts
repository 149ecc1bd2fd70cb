// Which variables a piece of code assigns, read from its syntax.
import type ts from 'typescript';
import { typescript } from './typescript.ts';

/** Names that a binding pattern declares. */
export function namesOf(name: ts.BindingName): string[] {
  const api = typescript();
  if (api.isIdentifier(name)) return [name.text];
  return name.elements.flatMap((e) => (api.isOmittedExpression(e) ? [] : namesOf(e.name)));
}

/** Targets of an assignment. */
function targetsOf(n: ts.Node): string[] {
  const api = typescript();
  if (api.isIdentifier(n)) return [n.text];
  if (api.isArrayLiteralExpression(n)) return n.elements.flatMap(targetsOf);
  if (api.isParenthesizedExpression(n)) return targetsOf(n.expression);
  return [];
}

/** Names that a scope declares directly. */
function declaredIn(scope: ts.Node): string[] {
  const api = typescript();
  const out: string[] = [];
  const list = (l: ts.VariableDeclarationList): void => {
    for (const d of l.declarations) out.push(...namesOf(d.name));
  };
  if (api.isBlock(scope))
    for (const st of scope.statements) {
      if (api.isVariableStatement(st)) list(st.declarationList);
      else if (api.isFunctionDeclaration(st) && st.name) out.push(st.name.text);
    }
  if (api.isForOfStatement(scope) || api.isForStatement(scope))
    if (scope.initializer && api.isVariableDeclarationList(scope.initializer))
      list(scope.initializer);
  if (api.isFunctionLike(scope))
    for (const p of scope.parameters) out.push(...namesOf(p.name as ts.BindingName));
  return out;
}

const cache = new WeakMap<ts.Node, ReadonlySet<string>>();

/** Variables from outside of a piece of code that it assigns. */
export function assignedNames(node: ts.Node): ReadonlySet<string> {
  const known = cache.get(node);
  if (known) return known;
  const api = typescript();
  const out = new Set<string>();
  const note = (target: ts.Node, hidden: ReadonlySet<string>): void => {
    for (const name of targetsOf(target)) if (!hidden.has(name)) out.add(name);
  };
  const visit = (n: ts.Node, outer: ReadonlySet<string>): void => {
    const own = declaredIn(n);
    const hidden = own.length > 0 ? new Set([...outer, ...own]) : outer;
    if (api.isBinaryExpression(n)) {
      const { kind } = n.operatorToken;
      if (kind >= api.SyntaxKind.FirstAssignment && kind <= api.SyntaxKind.LastAssignment)
        note(n.left, hidden);
    } else if (api.isPrefixUnaryExpression(n) || api.isPostfixUnaryExpression(n)) {
      const { PlusPlusToken, MinusMinusToken } = api.SyntaxKind;
      if (n.operator === PlusPlusToken || n.operator === MinusMinusToken) note(n.operand, hidden);
    }
    api.forEachChild(n, (child) => visit(child, hidden));
  };
  visit(node, new Set());
  cache.set(node, out);
  return out;
}
