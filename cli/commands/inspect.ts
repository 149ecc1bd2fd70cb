// quern inspect: what a model file holds; with --histogram also how its values are spread.
import pc from 'picocolors';
import { describeValue } from '../../runtime/files/gguf/values.ts';
import { readValues } from '../../runtime/models/compare.ts';
import { type ModelTensor, isFloat, openModel } from '../../runtime/models/source.ts';
import { Histogram } from '../../runtime/models/statistics.ts';
import { elements, formatKey } from '../../runtime/tensor.ts';
import { interruptible } from '../interrupt.ts';
import { chosen } from '../patterns.ts';
import { progress } from '../progress.ts';
import { megabytes, significant, table } from '../table.ts';

export interface InspectOptions {
  readonly only?: readonly string[];
  readonly skip?: readonly string[];
  readonly histogram?: boolean;
  readonly json?: boolean;
}

const bitsOf = (t: ModelTensor): number => (8 * t.bytes) / Math.max(1, elements(t.shape));
const kinds = (list: readonly ModelTensor[]) => {
  const groups = new Map<string, ModelTensor[]>();
  for (const t of list) {
    const key = t.format ? formatKey(t.format) : t.label;
    groups.set(key, [...(groups.get(key) ?? []), t]);
  }
  return [...groups.values()];
};

export async function inspect(path: string, options: InspectOptions): Promise<void> {
  const source = await openModel(path);
  try {
    const selects = chosen(options);
    const tensors = [...source.tensors.values()].filter((t) => selects(t.name));
    const seen = options.histogram
      ? await histograms(source, tensors)
      : new Map<string, Histogram>();
    console.log(
      options.json ? json(source, tensors, seen) : text(source, tensors, seen, options.histogram),
    );
  } finally {
    await source.close();
  }
}

type Source = Awaited<ReturnType<typeof openModel>>;

async function histograms(
  source: Source,
  tensors: readonly ModelTensor[],
): Promise<ReadonlyMap<string, Histogram>> {
  const seen = new Map<string, Histogram>();
  const looked = tensors.filter(isFloat);
  await interruptible(async (signal) => {
    let bar: ReturnType<typeof progress> | undefined;
    const onProgress = (done: number, total: number, name: string): void => {
      bar ??= progress(total, 'reading');
      bar.update(done, name);
    };
    try {
      const visit = (t: ModelTensor, _: number, values: Float32Array): void => {
        const h = seen.get(t.name) ?? new Histogram();
        seen.set(t.name, h);
        h.add(values);
      };
      await readValues(source, looked, visit, { signal, onProgress });
    } finally {
      bar?.stop();
    }
  });
  return seen;
}

const levels = ' ▁▂▃▄▅▆▇█';
/** The bins that hold something, two at a time if they are many, as bars of eight heights. */
function bars(h: Histogram): string {
  const [from, to] = h.span;
  const wide = to - from > 32 ? 2 : 1;
  const counts: number[] = [];
  for (let i = from; i < to; i += wide)
    counts.push(h.counts.slice(i, Math.min(to, i + wide)).reduce((a, b) => a + b, 0));
  const top = Math.max(1, ...counts);
  return counts.map((n) => levels[n === 0 ? 0 : 1 + Math.floor((7.999 * n) / top)]).join('');
}

function text(
  source: Source,
  tensors: readonly ModelTensor[],
  seen: ReadonlyMap<string, Histogram>,
  withValues = false,
): string {
  const rows = tensors.map((t) => {
    const h = seen.get(t.name);
    const row = [t.name, t.shape.join(' x '), t.label, bitsOf(t).toFixed(3), megabytes(t.bytes)];
    if (!withValues) return row;
    if (!h?.count) return [...row, '', '', '', h?.nonfinite ? `${h.nonfinite} not finite` : ''];
    const odd = h.nonfinite ? `  ${h.nonfinite} not finite` : '';
    return [...row, significant(h.min), significant(h.max), significant(h.rms), `${bars(h)}${odd}`];
  });
  const heads = ['tensor', 'shape', 'format', 'bits/weight', 'MB'];
  const more = withValues ? ['min', 'max', 'rms', 'histogram'] : [];
  const lines = [table([...heads, ...more], `lllrr${withValues ? 'rrrl' : ''}`, rows), ''];
  for (const group of kinds(tensors)) {
    const bytes = group.reduce((n, t) => n + t.bytes, 0);
    const weights = group.reduce((n, t) => n + elements(t.shape), 0);
    lines.push(
      `${group[0]!.label}: ${group.length} tensors, ${weights} weights, ${((8 * bytes) / Math.max(1, weights)).toFixed(3)} bits/weight, ${megabytes(bytes)} MB`,
    );
  }
  const bytes = tensors.reduce((n, t) => n + t.bytes, 0);
  const weights = tensors.reduce((n, t) => n + elements(t.shape), 0);
  lines.push(
    pc.bold(
      `in all: ${tensors.length} tensors, ${weights} weights, ${((8 * bytes) / Math.max(1, weights)).toFixed(3)} bits/weight, ${megabytes(bytes)} MB`,
    ),
  );
  const notes = notesOf(source);
  if (notes.length) lines.push('', table(['metadata', ''], 'll', notes));
  return lines.join('\n');
}

/** Metadata for people, long values cut. */
function notesOf(source: Source): string[][] {
  const short = (s: string): string => (s.length > 80 ? `${s.slice(0, 77)}...` : s);
  const all = source.gguf
    ? [...source.gguf].map(([k, v]) => [k, describeValue(v)])
    : Object.entries(source.notes);
  return all.map(([k, v]) => [k!, short(v!)]);
}

function json(
  source: Source,
  tensors: readonly ModelTensor[],
  seen: ReadonlyMap<string, Histogram>,
): string {
  const list = tensors.map((t) => {
    const h = seen.get(t.name);
    const { name, shape, label, bytes, format } = t;
    const values = h && {
      min: h.count ? h.min : null,
      max: h.count ? h.max : null,
      mean: h.mean,
      rms: h.rms,
      zeros: h.zeros,
      nonfinite: h.nonfinite,
      range: h.range,
      counts: [...h.counts],
    };
    return {
      name,
      shape,
      stored: label,
      bytes,
      bitsPerWeight: bitsOf(t),
      ...(format ? { format } : {}),
      ...(values ? { values } : {}),
    };
  });
  const metadata = Object.fromEntries(
    source.gguf
      ? [...source.gguf].map(([k, v]) => [k, describeValue(v)])
      : Object.entries(source.notes),
  );
  return JSON.stringify({ path: source.path, kind: source.kind, metadata, tensors: list });
}
