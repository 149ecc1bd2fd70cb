// The text of a program: a header, the parts of the prelude in use, and one kernel a launch.
import { dtypes } from '../../compiler/ir/dtype.ts';
import { nested } from '../../compiler/loops/walk.ts';
import type { Launch } from '../../compiler/loops/launches.ts';
import type { Buffer, Program, Stmt } from '../../compiler/loops/loops.ts';
import type { EmitOptions } from '../backend.ts';
import { usedOnce } from './once.ts';
import { type PartName, preludeText } from './prelude.ts';
import { statements } from './statements.ts';
import { memoryType } from './types.ts';
import { Writer } from './writer.ts';

export function sourceText(
  program: Program,
  launches: readonly Launch[],
  line: EmitOptions['line'] = () => undefined,
): string {
  const used = new Set<PartName>();
  const kernels = launches.map((l) => kernelText(l, used, l.span && line(l.span)));
  const prelude = preludeText(used);
  const header = [
    `// ${program.name}: CUDA C. Needs C++17; do not compile with -use_fast_math.`,
    '// Addresses of buffers are multiples of 16. How the kernels are launched stands in the manifest.',
  ];
  return `${[header.join('\n'), prelude, ...kernels].filter(Boolean).join('\n\n')}\n`;
}

function kernelText(l: Launch, used: Set<PartName>, source: string | undefined): string {
  const w = new Writer(used, usedOnce(l.body));
  const params = [
    ...l.buffers.map((b) => pointer(w, b, used, l.written.has(b.id))),
    ...l.dims.map((d) => `int ${w.dim(d)}`),
  ];
  for (const b of l.inner) w.line(innerMemory(w, b, used));
  statements(w, l.body);
  return [
    // A backslash at the end would make a comment of the next line too.
    ...(source === undefined ? [] : [`// ${source.replace(/\\$/, '')}`]),
    `// ${l.schedule}: ${l.threads === 1 ? 'one thread' : `${l.threads} threads a block`}.`,
    `extern "C" __global__ void __launch_bounds__(${bounds(l)}) ${l.name}(`,
    `    ${params.join(',\n    ')}) {`,
    ...w.lines,
    '}',
  ].join('\n');
}

/**
 * Blocks that a multiprocessor must have room for. With what is multiplied by warps one is enough: registers matter more than
 * their number. Of others ptxas decides, which for tiles of 16 sums a thread would rather keep some values in memory than
 * have three blocks in place of four.
 */
const bounds = (l: Launch): string => {
  if (multiplies(l.body)) return `${l.threads}, 1`;
  const sums = l.inner.some((b) => b.role === 'group') ? sumsOf(l.body) : 0;
  return sums === 16 ? `${l.threads}, 3` : `${l.threads}`;
};
const multiplies = (list: readonly Stmt[]): boolean =>
  list.some((s) => s.kind === 'product' || nested(s).some(multiplies));
/** Lanes of vectors of f32 that live across loops. */
const sumsOf = (list: readonly Stmt[]): number =>
  list.reduce(
    (n, s) =>
      n +
      (s.kind === 'local' && s.var.type.scalar === 'f32' && s.var.type.lanes > 1
        ? s.var.type.lanes
        : 0) +
      nested(s).reduce((m, inner) => m + sumsOf(inner), 0),
    0,
  );

function pointer(w: Writer, b: Buffer, used: Set<PartName>, written: boolean): string {
  if (b.dtype === 'f16') used.add('fp16');
  return `${written ? '' : 'const '}${memoryType(b.dtype)}* __restrict__ ${w.buffer(b)}`;
}

/** Memory of the block, or of the thread. */
function innerMemory(w: Writer, b: Buffer, used: Set<PartName>): string {
  if (b.dtype === 'f16') used.add('fp16');
  const elements = b.size.constant!;
  const { bits } = dtypes[b.dtype];
  const count = bits % 8 === 0 ? elements : Math.ceil((elements * bits) / 8);
  const space = b.role === 'group' ? '__shared__ __align__(16)' : 'alignas(16)';
  // What a loop carries and nobody looks at is stored all the same.
  return `[[maybe_unused]] ${space} ${memoryType(b.dtype)} ${w.buffer(b)}[${Math.max(1, count)}];`;
}
