// The table of diagnostics: one row a code. A row turns facts into a sentence, what was found, what was
// expected and what to do. Codes are never reused. Q1 language, Q2 types and shapes, Q3 formats,
// Q4 targets, Q9 faults of the compiler itself.
import type { Message } from './diagnostic.ts';

export const codes = {
  Q1001: (f: { detail: string }): Message => ({
    message: `The file does not parse: ${f.detail}`,
    hint: 'Fix the TypeScript syntax error; kernels are ordinary TypeScript.',
  }),
  Q1002: (f: { what: string; instead: string }): Message => ({
    message: `${f.what} is not part of the language`,
    hint: f.instead,
  }),
  Q1003: (f: { name: string; near?: string }): Message => ({
    message: `Unknown name \`${f.name}\``,
    hint: f.near
      ? `Did you mean \`${f.near}\`?`
      : "Declare it, or import it from 'quern' or another kernel file.",
  }),
  Q1004: (f: { name: string; known: string; near?: string }): Message => ({
    message: `There is no export \`${f.name}\``,
    expected: f.known,
    hint: f.near ? `Did you mean \`${f.near}\`?` : 'Put `export` before its declaration.',
  }),
  Q1005: (f: { path: string; detail: string }): Message => ({
    message: `Cannot read the imported file \`${f.path}\`: ${f.detail}`,
    hint: "Imports may name 'quern', 'quern/formats' or a relative .ts file.",
  }),
  Q1006: (f: { limit: string; hint: string }): Message => ({
    message: `Evaluation of the kernel exceeded ${f.limit}`,
    hint: f.hint,
  }),
  Q1007: (f: { name: string }): Message => ({
    message: `\`${f.name}\` is constant and cannot be assigned`,
    hint: 'Declare it with `let`.',
  }),
  Q1008: (f: { what: string; found: string; expected: string }): Message => ({
    message: `${f.what} must be known at compile time`,
    found: f.found,
    expected: f.expected,
    hint: 'Use a literal, an option of the factory, or a dim; values of tensors are known only when the kernel runs.',
  }),
  Q1009: (f: { where: string }): Message => ({
    message: `\`return\` inside ${f.where} depends on a value known only at run time`,
    hint: 'Assign to a variable and return it after the block, or select with `?:`.',
  }),
  Q1010: (f: { found: string }): Message => ({
    message: 'The condition of `if` or `while` must be a single value',
    found: f.found,
    expected: 'a scalar, such as any(x) or at(x, 0) > 1',
    hint: 'For an elementwise choice use `?:`; to test a whole tensor use any() or all().',
  }),
  Q1011: (f: { name: string; before: string; after: string; isBranch?: boolean }): Message => ({
    message: f.isBranch
      ? `\`${f.name}\` has another type in one branch of the \`if\` than in the other`
      : `\`${f.name}\` changes its type from one pass of the loop to the next`,
    found: f.after,
    expected: f.before,
    hint: f.isBranch
      ? 'Give both branches the same dtype and shape; broadcastTo() and casts help.'
      : 'Start it with a value of the final type and shape, for instance f32(0) or zeros(...).',
  }),
  Q1012: (f: { callee: string; found: string; expected: string; hint?: string }): Message => ({
    message: `Wrong ${f.callee.startsWith('the operator') ? 'operands' : 'arguments'} for ${f.callee}`,
    found: f.found,
    expected: f.expected,
    ...(f.hint ? { hint: f.hint } : {}),
  }),
  Q1013: (f: { name: string; found: string }): Message => ({
    message: `${f.name} is not a function`,
    found: f.found,
    hint: 'Call a builtin, a function of the file, or an imported function.',
  }),
  Q1014: (f: { name: string; found: string; isTensor?: boolean; near?: string }): Message => ({
    message: `There is no property \`${f.name}\``,
    found: f.found,
    hint: f.isTensor
      ? 'Tensors have no methods: write sum(x), not x.sum().'
      : f.near
        ? `Did you mean \`${f.near}\`?`
        : 'A record has the properties that it was made with.',
  }),
  Q1015: (f: { param: string; found: string }): Message => ({
    message: `The parameter \`${f.param}\` of an exported kernel needs a type that says what it is`,
    found: f.found,
    expected: 'Tensor<f32, [M, K]>, Encoded<F, [N, K]>, or number for a constant',
    hint: 'Shapes and dtypes of the arguments come from the types in the source.',
  }),
  Q1016: (f: { name: string; found: string }): Message => ({
    message: `\`${f.name}\` was used before it got a value`,
    found: f.found,
    hint: 'Initialise it where it is declared.',
  }),
  Q1017: (f: { text: string }): Message => ({
    message: `The kernel refuses: ${f.text}`,
    hint: 'The `throw` of the kernel file was reached while compiling; change the options.',
  }),
  Q1018: (f: { name: string; found: string; near?: string }): Message => ({
    message: `\`${f.name}\` in a shape is no dim`,
    found: f.found,
    expected: `a number, or \`${f.name} extends Dim\` among the type parameters of the function`,
    hint: f.near
      ? `Did you mean \`${f.near}\`?`
      : 'Sizes that follow from others, such as K / 32, are computed in the body.',
  }),
  Q1019: (f: { name: string; found: string }): Message => ({
    message: `${f.name} is no tensor`,
    found: f.found,
    expected: 'a tensor, an encoded tensor, or a record or tuple of them',
    hint: 'Return what the kernel computes.',
  }),

  Q1020: (f: { name: string }): Message => ({
    message: `${f.name} has a length of its own, but is no part of a record`,
    found: 'upTo(...) outside of a record',
    expected: 'a record of results',
    hint: 'Return { data: upTo(x, rows) }: the length comes back beside the data.',
  }),

  Q2001: (f: { op: string; a: string; b: string; why: string }): Message => ({
    message: `Shapes do not match in ${f.op}: ${f.why}`,
    found: `${f.a} with ${f.b}`,
    expected: 'equal dims, or 1 where one is repeated (aligned from the right, as in NumPy)',
    hint: 'reshape(), transpose() or { keepdims: true } on a reduction line the axes up.',
  }),
  Q2002: (f: { a: string; b: string; inner: string }): Message => ({
    message: `matmul contracts the last axis of its first operand with the second-to-last of its second: ${f.inner}`,
    found: `${f.a} x ${f.b}`,
    expected: '[..., M, K] x [..., K, N]',
    hint: 'A weight stored [N, K] needs transpose(w).',
  }),
  Q2003: (f: { op: string; axis: number; shape: string }): Message => ({
    message: `${f.op} names axis ${f.axis}, which the operand does not have`,
    found: `shape ${f.shape}`,
    hint: 'Axes count from 0; negative ones from the end.',
  }),
  Q2004: (f: { op: string; found: string; expected: string }): Message => ({
    message: `${f.op} does not take this dtype`,
    found: f.found,
    expected: f.expected,
    hint: 'Cast first: f32(x), i32(x), u8(x), ...',
  }),
  Q2005: (f: { from: string; to: string; a: string; b: string }): Message => ({
    message: `reshape keeps the number of elements: ${f.a} is not ${f.b}`,
    found: `${f.from} to ${f.to}`,
    expected: `a shape of ${f.a} elements`,
    hint: 'Use -1 for one dim to have it computed.',
  }),
  Q2006: (f: { op: string; found: string; expected: string }): Message => ({
    message: `${f.op}: wrong shape`,
    found: f.found,
    expected: f.expected,
    hint: 'Check the axes of the operand against the documentation of the builtin.',
  }),
  Q2007: (f: { what: string; found: string; expected: string }): Message => ({
    message: `${f.what} does not have the declared type`,
    found: f.found,
    expected: f.expected,
    hint: 'Change the annotation, or the expression that it describes.',
  }),
  Q2008: (f: { what: string; found: string }): Message => ({
    message: `${f.what} is out of range`,
    found: f.found,
    hint: 'Bounds of slices are checked while compiling; indices of at() and gather() are clamped when the kernel runs.',
  }),

  Q3001: (f: { what: string; found: string; expected: string }): Message => ({
    message: `A format needs ${f.what}`,
    found: f.found,
    expected: f.expected,
    hint: 'format({ block: 32, encode(x) { return { ... } }, decode: (fields) => ... })',
  }),
  Q3002: (f: { k: string; block: number; shape: string }): Message => ({
    message: `${f.k} is not divisible by the format's block of ${f.block}`,
    found: `shape ${f.shape}`,
    expected: `a last dim that is a multiple of ${f.block}`,
    hint: 'Use a format with a smaller block, pad the tensor, or skip it.',
  }),
  Q3003: (f: { found: string; expected: string }): Message => ({
    message: 'decode does not give back a block of the shape that encode takes',
    found: f.found,
    expected: f.expected,
    hint: 'decode receives the record that encode returns and yields the block as f32.',
  }),
  Q3004: (f: { field: string; found: string }): Message => ({
    message: `The field \`${f.field}\` of the format is no tensor`,
    found: f.found,
    expected: 'a tensor or scalar with a storage dtype, e.g. f16(d) or u4(q)',
    hint: 'encode returns a record of tensors; constants belong outside of it.',
  }),
  Q3005: (f: { param: string }): Message => ({
    message: `The format of \`${f.param}\` is not given`,
    expected: 'a format for each type parameter that extends Format',
    hint: 'Name it: file.ts#linear<q4_0>, or pass an encoded tensor when calling.',
  }),
  Q3006: (f: { name: string }): Message => ({
    message: `The format ${f.name} takes no importance weights`,
    expected: 'a format whose encode has a third parameter: encode(x, outer, weights)',
    hint: 'Encode without { weights }, or choose a format that uses them.',
  }),
  Q3007: (f: { field: string; found: string; expected: string }): Message => ({
    message: `With importance weights the field \`${f.field}\` is another than without`,
    found: f.found,
    expected: f.expected,
    hint: 'encode returns the same fields, of the same dtypes and shapes, with and without weights.',
  }),
  Q3008: (f: { field: string; found: string; expected: string }): Message => ({
    message: `assemble() does not get the field \`${f.field}\` of the format as it is stored`,
    found: f.found,
    expected: f.expected,
    hint: 'fields(w) shows the names and shapes: block fields are [N, K / block, ...], row fields [N, ...].',
  }),
  Q3009: (f: { where: string }): Message => ({
    message: `${f.where} is encoded in this format, which nobody outside of the file can find`,
    expected: 'an exported constant, or a call of an exported factory with plain arguments',
    hint: 'export const mine = format({ ... }), or decode inside of the kernel.',
  }),
  Q3010: (f: { field: string; found: string; expected: string }): Message => ({
    message: `The layout's unpack does not give back the field \`${f.field}\``,
    found: f.found,
    expected: f.expected,
    hint: 'unpack returns what encode returned: every field that pack took, with the same shape.',
  }),
  Q3011: (f: { name: string; found: string }): Message => ({
    message: `factors() cannot take the decode of ${f.name} apart`,
    found: f.found,
    expected:
      'a scale times integers, plus an offset, both the same along the last axis of a block',
    hint: 'decode(w) gives the numbers of any format; fields(w) what it stores.',
  }),

  Q4001: (f: { op: string; dtype: string; target: string; instead: string }): Message => ({
    message: `${f.op} on ${f.dtype} is not supported by the target ${f.target}`,
    hint: f.instead,
  }),
  Q4002: (f: { what: string; limit: string; target: string; instead: string }): Message => ({
    message: `The kernel needs ${f.what}, but ${f.target} offers ${f.limit}`,
    hint: f.instead,
  }),
  Q4003: (f: { target: string; preset: string; known: string }): Message => ({
    message: `The target ${f.target} has no preset ${f.preset}`,
    expected: f.known,
    hint: 'A preset names the limits of a kind of device; without one the target has its own.',
  }),

  Q9001: (f: { detail: string }): Message => ({
    message: `Fault of the compiler: ${f.detail}`,
    hint: 'Please report this with the kernel file.',
  }),
} as const;

export type Code = keyof typeof codes;
export type Facts<C extends Code> = Parameters<(typeof codes)[C]>[0];
