// Symbolic integers as the postfix code of manifests, which the runtime evaluates without compiler code.
import type { PolyCode } from '../artifact.ts';
import type { Poly } from './algebra.ts';

export function polyCode(p: Poly): PolyCode {
  const out: (number | string)[] = [];
  for (const t of p.terms.values()) {
    const empty = out.length === 0;
    out.push(t.n);
    for (const a of t.atoms) {
      if (a.kind === 'div') out.push(...polyCode(a.num!), ...polyCode(a.den!), 'div');
      else out.push(a.key);
      out.push('*');
    }
    if (t.d !== 1) out.push(t.d, '/');
    if (!empty) out.push('+');
  }
  // A bare dim reads ['K'], not [1, 'K', '*'].
  if (out.length === 3 && out[0] === 1 && out[2] === '*') return [out[1]!];
  if (out.length > 3 && p.terms.size === 1 && out[0] === 1 && out[2] === '*')
    return [out[1]!, ...out.slice(3)];
  return out.length ? out : [0];
}
