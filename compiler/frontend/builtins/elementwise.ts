// Elementwise builtins. On plain numbers they compute at once, by the same meaning as the op.
import { binaryMeaning, unaryMeaning } from '../../ir/meaning.ts';
import type { BinaryName, UnaryName } from '../../ir/ops.ts';
import { is, tensorVal, type Val } from '../values.ts';
import { type Builtin, type BuiltinTable, wrongArguments } from './arguments.ts';

export function unaryBuiltin(name: string, op: UnaryName): Builtin {
  return (s, args) => {
    if (args.length !== 1) wrongArguments(name, args, 'one tensor or number');
    const [x] = args;
    if (typeof x === 'number') {
      const y = unaryMeaning[op](x, 'f32');
      return op === 'isnan' ? Boolean(y) : y;
    }
    return tensorVal(s.ctx.builder.one(op, [s.ctx.tensor(x)], {}));
  };
}

export function binaryBuiltin(name: string, op: BinaryName): Builtin {
  return (s, args) => {
    if (args.length < 2) wrongArguments(name, args, 'two tensors or numbers');
    return args.reduce((a: Val, b: Val): Val => {
      if (typeof a === 'number' && typeof b === 'number') return binaryMeaning[op](a, b, 'f32');
      const [x, y] = s.ctx.pair(a, b);
      return tensorVal(s.ctx.builder.one(op, [x, y], {}));
    });
  };
}

const unaryNames = [
  'abs',
  'floor',
  'ceil',
  'trunc',
  'round',
  'roundHalfAway',
  'roundHalfUp',
  'sign',
  'sqrt',
  'exp',
  'exp2',
  'log',
  'log2',
  'sin',
  'cos',
  'tanh',
  'popcount',
  'exponent',
  'isnan',
] as const satisfies readonly UnaryName[];

const minimum = binaryBuiltin('min', 'min');
const maximum = binaryBuiltin('max', 'max');

export const elementwise: BuiltinTable = {
  ...Object.fromEntries(unaryNames.map((n) => [n, unaryBuiltin(n, n)])),
  min: minimum,
  max: maximum,
  pow: binaryBuiltin('pow', 'pow'),
  clamp: (s, args) => {
    if (args.length !== 3) wrongArguments('clamp', args, 'x, low, high');
    return minimum(s, [maximum(s, [args[0], args[1]]), args[2]]);
  },
};

/** `Math.*`: the names that JavaScript has. Math.round rounds half up. */
export const mathMembers: BuiltinTable = {
  ...Object.fromEntries(
    (
      [
        'abs',
        'floor',
        'ceil',
        'trunc',
        'sign',
        'sqrt',
        'exp',
        'log',
        'log2',
        'sin',
        'cos',
        'tanh',
      ] as const
    ).map((n) => [n, unaryBuiltin(`Math.${n}`, n)]),
  ),
  round: unaryBuiltin('Math.round', 'roundHalfUp'),
  min: minimum,
  max: maximum,
  pow: binaryBuiltin('Math.pow', 'pow'),
  fround: (s, [x]) =>
    typeof x === 'number'
      ? Math.fround(x)
      : is(x, 'tensor')
        ? s.cast('f32', [x])
        : wrongArguments('Math.fround', [x], 'a number'),
};
