// Finds the values of a function's symbolic dims from the shapes that it is called with, and checks
// what the signature demands of them. A shape [N, K / 32, 32] called with [8, 2, 32] says N = 8 and
// K = 64.
import { type Atom, Poly, shapeText } from '../ir/algebra.ts';
import type { Func } from '../ir/ir.ts';

interface Equation {
  readonly poly: Poly;
  readonly extent: number;
  /** Where it comes from, for messages. */
  readonly from: string;
}

/** Values of `func.dims`; throws an Error that names the parameter when the shapes do not fit. */
export function solveDims(
  func: Func,
  shapes: readonly (readonly number[])[],
): ReadonlyMap<string, number> {
  const dims = new Map<string, number>();
  const known = (a: Atom): Poly | undefined => {
    const value = a.kind === 'dim' ? dims.get(a.key) : undefined;
    return value === undefined ? undefined : Poly.of(value);
  };
  // Each round may make further equations linear in one dim: N * K is, once N is known.
  let open = equationsOf(func, shapes);
  for (let before = -1; open.length !== before; ) {
    before = open.length;
    open = open.filter(({ poly, extent, from }) => {
      const rest = poly.substitute(known).sub(extent);
      const [atom, ...others] = rest.atoms();
      if (!atom) {
        if (rest.constant === 0) return false;
        const found = `${rest.constant! + extent}${givenText(poly, dims)}`;
        throw new Error(`${from} has extent ${extent}, but ${poly} is ${found}`);
      }
      const factor = others.length ? undefined : rest.coefficient(atom.key)?.constant;
      if (atom.kind !== 'dim' || !factor) return true;
      const value = 0 - rest.evaluate(() => 0) / factor;
      if (!Number.isSafeInteger(value) || value < 0)
        throw new Error(`${from} has extent ${extent}, and no whole ${atom.key} makes ${poly} so`);
      dims.set(atom.key, value);
      return false;
    });
  }
  const missing = func.dims.filter((d) => !dims.has(d));
  if (missing.length)
    throw new Error(
      `${func.name}: the shapes of the arguments do not determine ${missing.join(', ')}`,
    );
  checkConstraints(func, dims);
  return dims;
}

/** One equation an axis of a parameter. */
function equationsOf(func: Func, shapes: readonly (readonly number[])[]): Equation[] {
  const labels = func.params.flatMap((p) =>
    p.kind === 'tensor' ? [p.name] : p.fields.map((f) => `${p.name}.${f}`),
  );
  const params = func.body.params;
  if (shapes.length !== params.length)
    throw new Error(`${func.name} takes ${params.length} tensors, not ${shapes.length}`);
  return params.flatMap((param, i) => {
    const shape = shapes[i]!;
    const label = labels[i] ?? param.name ?? `argument ${i}`;
    if (shape.length !== param.type.shape.length)
      throw new Error(
        `${label} has shape [${shape.join(', ')}], but ${shapeText(param.type.shape)} was declared`,
      );
    return param.type.shape.map((poly, axis) => ({
      poly,
      extent: shape[axis]!,
      from: `axis ${axis} of ${label}`,
    }));
  });
}

function checkConstraints(func: Func, dims: ReadonlyMap<string, number>): void {
  for (const { poly, modulus, reason } of func.constraints) {
    const value = poly.evaluate((a) => dims.get(a.key) ?? Number.NaN);
    if (value % modulus !== 0)
      throw new Error(`${poly}${givenText(poly, dims)} is not a multiple of ${modulus}: ${reason}`);
  }
}

/** ` for K = 33`: the values behind a polynomial. */
function givenText(poly: Poly, dims: ReadonlyMap<string, number>): string {
  const given = poly.leaves().map((a) => `${a.key} = ${dims.get(a.key)}`);
  return given.length ? ` for ${given.join(', ')}` : '';
}
