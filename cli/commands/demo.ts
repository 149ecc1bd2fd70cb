// quern demo (npm start): the sample model in a dozen formats, each compressed, loaded and evaluated for real.
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pc from 'picocolors';
import packageJson from '../../package.json' with { type: 'json' };
import { compressModel } from '../../runtime/models/compress.ts';
import { type Evaluation, evaluateText } from '../../runtime/models/evaluate.ts';
import { loadLlama } from '../../runtime/models/llama.ts';
import { UsageError } from '../exit.ts';
import { formatOf } from '../format-name.ts';
import { interruptible } from '../interrupt.ts';
import { megabytes, table } from '../table.ts';

/** From the widest to the narrowest. */
const defaults = [
  'dense_f16',
  'q8_0',
  'q6_K',
  'q4_K',
  'q4_1',
  'q4_0',
  'iq4_nl',
  'mxfp4',
  'nf4',
  'uniform(bits=3, group=64)',
  'tq2_0',
  'bitnet',
];
/** Of the model's authors, in F32 with NumPy, over all 60 windows. */
const reference = { loss: 2.743, windows: 60 };
/** Windows that each format is evaluated on; the f32 model is evaluated on all. */
const formatWindows = 20;

export interface DemoOptions {
  readonly limitWindows?: number;
  readonly formats?: string;
  readonly json?: boolean;
}

interface Row extends Evaluation {
  readonly format: string;
  readonly bitsPerWeight: number;
  readonly bytes: number;
}

export async function demo(options: DemoOptions): Promise<void> {
  const sample = fileURLToPath(new URL('../../examples/models/verse-4m', import.meta.url));
  if (!existsSync(sample))
    throw new UsageError('The sample model is part of the repository, not of the package');
  const text = await readFile(join(sample, 'kjv.txt'), 'utf8');
  const names = options.formats ? options.formats.split(';').map((s) => s.trim()) : defaults;
  const refs = names.map(formatOf);
  const work = await mkdtemp(join(tmpdir(), 'quern-demo-'));
  const rows: Row[] = [];
  try {
    await interruptible(async (signal) => {
      const run = async (format: string, path: string, limit?: number): Promise<void> => {
        const model = await loadLlama(path);
        try {
          const result = await evaluateText(model, text, { limit, signal });
          rows.push({ format, bitsPerWeight: model.bitsPerWeight, bytes: model.bytes, ...result });
        } finally {
          model.dispose();
        }
      };
      const note = (what: string) => options.json || process.stderr.write(pc.dim(`${what}\n`));
      note('f32: evaluating');
      await run('f32', sample, options.limitWindows);
      for (const [i, name] of names.entries()) {
        note(`${name}: compressing and evaluating (${i + 1} of ${names.length})`);
        const output = join(work, String(i));
        await compressModel({
          model: sample,
          output,
          format: refs[i]!,
          version: packageJson.version,
          selects: () => true,
          signal,
        });
        await run(name, output, options.limitWindows ?? formatWindows);
      }
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  console.log(options.json ? JSON.stringify(rows) : report(rows));
}

const mean = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length;
const signed = (x: number): string => `${x < 0 ? '-' : '+'}${Math.abs(x).toFixed(4)}`;

function report(rows: readonly Row[]): string {
  const base = rows[0]!;
  // All losses are means over the windows that every row has.
  const windows = Math.min(...rows.map((r) => r.windows));
  const lossOf = (r: Row) => mean(r.windowLosses.slice(0, windows));
  const cells = rows.map((r) => [
    r.format,
    r.bitsPerWeight.toFixed(3),
    megabytes(r.bytes),
    lossOf(r).toFixed(4),
    r === base ? '' : signed(lossOf(r) - lossOf(base)),
    r.tokensPerSecond.toFixed(0),
  ]);
  const lines = [
    '',
    pc.bold(
      'A 3.67-million-parameter llama on the King James Bible, all its matrices in each format',
    ),
    '',
    table(['format', 'bits/weight', 'MB', 'loss', 'against f32', 'tokens/s'], 'lrrrrr', cells),
    '',
    `loss: nats per token over the first ${windows} windows of 256 tokens; lower is better.`,
    'tq2_0 and bitnet hold ternary weights: they are made for models trained that way, and this one was not.',
  ];
  // The reference is a mean over all windows, and says nothing about fewer.
  if (base.windows === reference.windows)
    lines.push(
      `f32 over all ${reference.windows} windows: ${base.loss.toFixed(4)}; the reference (NumPy, F32) has ${reference.loss}.`,
    );
  return lines.join('\n');
}
