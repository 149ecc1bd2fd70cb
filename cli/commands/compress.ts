// quern compress: encodes the matrices of a model and prints what each costs and how far it is off.
import { formatOf, formatText } from '../format-name.ts';
import {
  compressModel,
  type CompressResult,
  type TensorReport,
} from '../../runtime/models/compress.ts';
import packageJson from '../../package.json' with { type: 'json' };
import { interruptible } from '../interrupt.ts';
import { chosen } from '../patterns.ts';
import { progress } from '../progress.ts';
import { megabytes, significant, table } from '../table.ts';

export interface CompressOptions {
  readonly format: string;
  readonly output: string;
  readonly only?: readonly string[];
  readonly skip?: readonly string[];
  readonly allowNonfinite?: boolean;
  readonly json?: boolean;
}

export async function compress(model: string, options: CompressOptions): Promise<void> {
  const result = await interruptible(async (signal) => {
    let bar: ReturnType<typeof progress> | undefined;
    try {
      return await compressModel({
        model,
        version: packageJson.version,
        output: options.output,
        format: formatOf(options.format),
        selects: chosen(options),
        allowNonfinite: options.allowNonfinite ?? false,
        signal,
        onProgress: (done, total, tensor) => {
          bar ??= progress(total, 'compressing');
          bar.update(done, tensor);
        },
      });
    } finally {
      bar?.stop();
    }
  });
  console.log(options.json ? JSON.stringify(result) : text(result));
}

function text({ path, tensors, bytes, sourceBytes, seconds }: CompressResult): string {
  const encoded = tensors.filter((t) => t.format);
  const weights = encoded.reduce((n, t) => n + t.elements, 0);
  const row = (t: TensorReport) => [
    t.name,
    t.shape.join(' x '),
    t.format ? formatText(t.format) : `${t.dtype}, copied`,
    t.bitsPerWeight.toFixed(3),
    t.relativeError === undefined ? '' : significant(t.relativeError),
    t.format ? (t.sourceBytes / 1e6 / t.seconds).toFixed(0) : '',
  ];
  const bits = (encoded.reduce((n, t) => n + t.bytes, 0) * 8) / weights;
  // Errors of single tensors add up in the square, weighted by the tensors' norms.
  const error = Math.sqrt(
    encoded.reduce((s, t) => s + t.squaredError!, 0) /
      encoded.reduce((s, t) => s + t.squaredNorm!, 0),
  );
  const total = [
    'encoded in all',
    '',
    `${encoded.length} of ${tensors.length} tensors`,
    bits.toFixed(3),
    significant(error),
    (
      encoded.reduce((n, t) => n + t.sourceBytes, 0) /
      1e6 /
      encoded.reduce((s, t) => s + t.seconds, 0)
    ).toFixed(0),
  ];
  return [
    table(['tensor', 'shape', 'format', 'bits/weight', 'error', 'MB/s'], 'lllrrr', [
      ...tensors.map(row),
      total,
    ]),
    '',
    'error is ||W - decode(encode(W))|| / ||W||; MB/s counts the bytes read.',
    `${megabytes(sourceBytes)} MB -> ${megabytes(bytes)} MB in ${seconds.toFixed(1)} s: ${path}`,
  ].join('\n');
}
