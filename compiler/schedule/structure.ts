// What a value is made of, as text: two kernels that compute the same of the same stored values can tell.
import { Poly } from '../ir/algebra.ts';
import type { Region, Value } from '../ir/ir.ts';
import type { Lowering } from './lowering.ts';

/** The same for values that are always equal; values with storage are told apart by who they are. */
export function structureOf(lo: Lowering, value: Value): string {
  const known = new Map<Value, string>();
  let params = 0;
  const region = (r: Region): string => {
    for (const p of r.params) known.set(p, `p${params++}`);
    return `{${r.yields.map(of).join()}}`;
  };
  const of = (v: Value): string => {
    let text = known.get(v);
    if (text === undefined) {
      const op = v.def?.op;
      if (!op || lo.storage.has(v)) text = `#${v.id}`;
      else {
        const attrs = JSON.stringify(op.attrs, (_, x: unknown) => (x instanceof Poly ? `${x}` : x));
        const inner = op.regions.map(region).join('');
        text = `${op.name}.${op.results.indexOf(v)}${attrs}(${op.operands.map(of).join()})${inner}`;
      }
      known.set(v, text);
    }
    return text;
  };
  return of(value);
}
