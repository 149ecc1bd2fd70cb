// The global environment of kernel files: what `import ... from 'quern'` can name, and the JavaScript globals
// that staging understands.
import { fail } from '../../diagnostics/diagnostic.ts';
import { type DType, dtypes } from '../../ir/dtype.ts';
import { parallelMap } from '../branches.ts';
import { decodeTensor, encodeTensor } from '../codecs.ts';
import { factors } from '../factors.ts';
import { assemble, formatInfo } from '../format-info.ts';
import { makeFormat } from '../formats.ts';
import { callback, memberName } from '../members.ts';
import type { Stager } from '../stager.ts';
import { arrayVal, describeVal, dimVal, is, recordVal, tensorVal, type Val } from '../values.ts';
import { type BuiltinTable, dimsOf, option, wrongArguments } from './arguments.ts';
import { elementwise, mathMembers } from './elementwise.ts';
import { reductions } from './reductions.ts';
import { shapes } from './shape.ts';
import { storedBuiltins } from './stored.ts';

const bound = (
  callee: string,
  args: readonly Val[],
  v: Val,
): Exclude<Val, undefined> & (number | { tag: 'dim' | 'tensor' }) => {
  if (typeof v === 'number' ? Number.isInteger(v) : is(v, 'dim') || is(v, 'tensor'))
    return v as never;
  return wrongArguments(callee, args, 'an integer, a dim or an integer scalar');
};

const control: BuiltinTable = {
  range: (_, args) => {
    if (args.length < 1 || args.length > 2) wrongArguments('range', args, 'n, or from and to');
    const ends = args.map((a) => bound('range', args, a)) as never[];
    return args.length === 1
      ? { tag: 'range', start: 0, end: ends[0]! }
      : { tag: 'range', start: ends[0]!, end: ends[1]! };
  },
  map: (s, args) => {
    const [over, f] = args;
    if (!is(f, 'closure')) return wrongArguments('map', args, 'a length and a function');
    const dims = is(over, 'array') ? over.items : [over];
    return parallelMap(
      s,
      dims.map((d) => s.ctx.dimOf(d, 'The length of map()')),
      (ids) => s.apply(f, ids.slice(0, Math.max(1, f.node.parameters.length))),
    );
  },
};

const formats: BuiltinTable = {
  format: makeFormat,
  encode: (s, args) => {
    const [f, x] = args;
    if (!is(f, 'format')) return wrongArguments('encode', args, 'a format and a tensor');
    const weights = option(args, 2, 'weights');
    return encodeTensor(
      s,
      f,
      s.ctx.tensor(x),
      weights === undefined ? weights : s.ctx.tensor(weights),
    );
  },
  decode: (s, args) => {
    const [w] = args;
    if (!is(w, 'encoded')) return wrongArguments('decode', args, 'an encoded tensor');
    return tensorVal(decodeTensor(s, w));
  },
  fields: (_, args) => {
    const [w] = args;
    if (!is(w, 'encoded')) return wrongArguments('fields', args, 'an encoded tensor');
    return recordVal([...w.fields].map(([k, v]) => [k, tensorVal(v)]));
  },
  factors: (s, args) => {
    const [w] = args;
    if (!is(w, 'encoded')) return wrongArguments('factors', args, 'an encoded tensor');
    return factors(s, w);
  },
  formatInfo: (s, args) => {
    const [f] = args;
    if (!is(f, 'format')) return wrongArguments('formatInfo', args, 'a format');
    return formatInfo(s, f);
  },
  assemble: (s, args) => {
    const [f, parts, shape] = args;
    if (!is(f, 'format') || !is(parts, 'record') || !is(shape, 'array'))
      return wrongArguments('assemble', args, 'a format, a record of its fields and a shape');
    return assemble(s, f, parts, dimsOf(s, shape, 'assemble'));
  },
};

export const language: BuiltinTable = {
  ...elementwise,
  ...reductions,
  ...shapes,
  ...storedBuiltins,
  ...control,
  ...formats,
};

/** The value of a name imported from 'quern'; undefined when there is none. */
export function languageValue(s: Stager, name: string): Val {
  if (Object.hasOwn(dtypes, name)) return { tag: 'dtype', dtype: name as DType };
  const f = Object.hasOwn(language, name) ? language[name] : undefined;
  return f ? { tag: 'builtin', name, call: (args) => f(s, args) } : undefined;
}
/** Names of 'quern' that are types only. */
export const languageTypes: ReadonlySet<string> = new Set([
  'Block',
  'DType',
  'Dim',
  'Encoded',
  'Factors',
  'FieldRecord',
  'Fields',
  'FloatDType',
  'Format',
  'FormatInfo',
  'FormatSpec',
  'IntDType',
  'Operand',
  'Scalar',
  'Tensor',
  'UintDType',
]);
export const languageNames = (): string[] => [...Object.keys(dtypes), ...Object.keys(language)];

/** `Math`, `Array.from`, `Object.entries`, `Number`, `Infinity`, `NaN`. */
export function globals(s: Stager): [string, Val][] {
  const functions = (table: BuiltinTable): [string, Val][] =>
    Object.entries(table).map(([name, f]) => [
      name,
      { tag: 'builtin', name, call: (args) => f(s, args) },
    ]);
  const namespace = (name: string, members: [string, Val][]): [string, Val] => [
    name,
    { tag: 'namespace', name, members: new Map(members) },
  ];
  const constants = (
    ['PI', 'E', 'SQRT2', 'SQRT1_2', 'LN2', 'LN10', 'LOG2E', 'LOG10E'] as const
  ).map((k): [string, Val] => [k, Math[k]]);
  const record = (v: Val): ReadonlyMap<string, Val> =>
    is(v, 'record')
      ? v.fields
      : fail('Q1012', { callee: 'Object', found: describeVal(v), expected: 'a record' });
  return [
    namespace('Math', [...constants, ...functions(mathMembers)]),
    namespace(
      'Array',
      functions({
        from: (st, [source, f]) => {
          const n = is(source, 'record') ? source.fields.get('length') : undefined;
          if (typeof n === 'number') st.ctx.budget.array(Math.max(0, n));
          const items = is(source, 'array')
            ? [...source.items]
            : typeof n === 'number' && Array.from({ length: n }, () => undefined);
          if (!items) return wrongArguments('Array.from', [source], 'an array or { length: n }');
          const made = f === undefined ? items : items.map((x, i) => callback(st, f, [x, i]));
          return arrayVal(made, st.ctx.regionDepth);
        },
        isArray: (_, [v]) => is(v, 'array'),
      }),
    ),
    namespace(
      'Object',
      functions({
        keys: (_, [v]) => arrayVal([...record(v).keys()]),
        values: (_, [v]) => arrayVal([...record(v).values()]),
        entries: (_, [v]) => arrayVal([...record(v)].map(([k, x]) => arrayVal([k, x]))),
        fromEntries: (st, [v]) =>
          recordVal(
            (is(v, 'array') ? v.items : wrongArguments('Object.fromEntries', [v], 'an array')).map(
              (x) =>
                is(x, 'array') && x.items.length === 2
                  ? ([memberName(x.items[0]), x.items[1]] as [string, Val])
                  : wrongArguments('Object.fromEntries', [x], 'pairs of a name and a value'),
            ),
            st.ctx.regionDepth,
          ),
        freeze: (_, [v]) => v,
      }),
    ),
    namespace('Number', [
      ['EPSILON', Number.EPSILON],
      ['MAX_SAFE_INTEGER', Number.MAX_SAFE_INTEGER],
      ...functions({ isInteger: (_, [v]) => Number.isInteger(v) }),
    ]),
    ['Infinity', Infinity],
    ['NaN', NaN],
  ];
}
export { dimVal };
