// A rough count of the instructions that statements take on a machine with vectors of four 32-bit lanes: enough to
// choose between two ways of doing the same thing. Scalars count as much as a vector of four.
import { dtypes } from '../ir/dtype.ts';
import type { BinaryName, UnaryName } from '../ir/ops.ts';
import type { Buffer, Expr, Stmt } from '../loops/loops.ts';
import { operands } from '../loops/loops.ts';

const unaryCost: Partial<Record<UnaryName, number>> = {
  roundHalfAway: 4,
  roundHalfUp: 5,
  sign: 4,
  exponent: 8,
  exp: 20,
  exp2: 20,
  log: 25,
  log2: 25,
  sin: 30,
  cos: 30,
  tanh: 30,
  sqrt: 5,
  popcount: 3,
};
const binaryCost: Partial<Record<BinaryName, number>> = {
  div: 5,
  pow: 60,
  rem: 12,
  min: 2,
  max: 2,
};
/** Rounding to a small float, or making its code; both, where one is stored. */
const smallFloat = 12;
const storedFloat = 18;
/** Iterations of a loop whose length is not known. */
const someIterations = 16;

const chunks = (lanes: number): number => Math.ceil(lanes / 4);

function memoryCost(bits: number, lanes: number): number {
  if (lanes === 1) return bits < 8 ? 6 : 1;
  return chunks(lanes) * (bits === 32 ? 1 : bits >= 8 ? 1.5 : 4);
}

/** What an expression costs besides its operands. */
function own(e: Expr): number {
  const n = chunks(e.type.lanes);
  switch (e.kind) {
    case 'const':
    case 'lanes':
    case 'var':
    case 'dim':
    case 'bits':
      return 0;
    case 'unary':
      return n * (unaryCost[e.op] ?? 1);
    case 'binary':
      return n * (binaryCost[e.op] ?? 1);
    case 'select':
      return n * 2;
    case 'convert':
      return n * (e.a.type.scalar === 'f32' ? 5 : 1);
    case 'round':
    case 'encode':
    case 'decode':
      return n * smallFloat;
    case 'compare':
      return n;
    case 'splat':
    case 'extract':
      return 1;
    case 'build':
      if (isPeaks(e))
        return 26 + e.parts.reduce((n, p) => n + 2 * chunks(operands(p)[0]!.type.lanes), 0);
      return isTransposed(e) ? 9 : e.parts.length;
    case 'reduce':
      return chunks(e.a.type.lanes) + 5;
    case 'fold':
      return chunks(e.a.type.lanes) - 1;
    case 'peak':
      return chunks(e.a.type.lanes) * 2 + 12;
    case 'within':
    case 'bounded':
      return 0;
    case 'dot':
      return chunks(e.a.type.lanes) * 1.5;
    case 'dot4':
    case 'zip':
    case 'muladd':
    case 'repeat':
    case 'tile':
      return n;
    case 'load':
      return memoryCost(dtypes[e.buffer.dtype].bits, e.type.lanes) + floats(e.buffer.dtype, n);
    case 'gather':
      return isSmallTable(e.buffer) ? n * 2 : e.type.lanes * 3;
    case 'nearest':
      return n * 9 * e.buffer.data!.length;
    case 'rank':
      return n * (e.a.kind === 'within' ? 8 : 13);
  }
}

/** Looked up sixteen at a time. */
const isSmallTable = (b: Buffer): boolean => b.role === 'const' && (b.data?.length ?? 17) <= 16;

const isTransposed = (e: Extract<Expr, { kind: 'build' }>): boolean =>
  e.parts.length === 4 && e.parts.every((p) => p.kind === 'reduce' && p.a.type.lanes === 4);

const isPeaks = (e: Extract<Expr, { kind: 'build' }>): boolean =>
  e.parts.length === 4 && e.parts.every((p) => p.kind === 'peak');

const floats = (dtype: keyof typeof dtypes, n: number): number =>
  dtypes[dtype].minifloat ? n * smallFloat : 0;

/** Instructions of a list of statements, loops counted in full. */
export function costOf(list: readonly Stmt[]): number {
  return list.reduce((sum, s) => sum + costOfStmt(s), 0);
}

function costOfStmt(s: Stmt): number {
  const seen = new Set<Expr>();
  const expr = (e: Expr): number => {
    if (seen.has(e)) return 0;
    seen.add(e);
    const inner =
      e.kind === 'build' && (isTransposed(e) || isPeaks(e))
        ? e.parts.flatMap(operands)
        : operands(e);
    return own(e) + inner.reduce((sum, x) => sum + expr(x), 0);
  };
  switch (s.kind) {
    case 'comment':
    case 'barrier':
    case 'arrive':
      return 0;
    case 'product':
      return s.b.type.lanes / 2;
    case 'pack':
      return expr(s.value) + s.var.type.lanes;
    case 'copy':
      return 1;
    case 'let':
    case 'local':
    case 'set':
    case 'combine':
      return expr(s.value);
    case 'store': {
      const { dtype } = s.buffer;
      const { lanes } = s.value.type;
      const rounding = dtypes[dtype].minifloat ? chunks(lanes) * storedFloat : 0;
      return expr(s.value) + memoryCost(dtypes[dtype].bits, lanes) + rounding;
    }
    case 'for': {
      const count =
        s.start.kind === 'const' && s.end.kind === 'const'
          ? Math.max(0, Math.floor((s.end.value - s.start.value) / s.step))
          : someIterations;
      return 2 + count * (2 + costOf(s.body));
    }
    case 'while':
      return someIterations * (costOf(s.header) + expr(s.cond) + costOf(s.body));
    case 'if':
      return expr(s.cond) + Math.max(costOf(s.then), costOf(s.else));
  }
}
