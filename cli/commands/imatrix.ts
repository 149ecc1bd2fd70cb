// quern imatrix: what goes into each matrix of a model, added up over a text.
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { writeImatrix } from '../../runtime/files/imatrix.ts';
import { collectImportance } from '../../runtime/models/importance.ts';
import { loadLlama } from '../../runtime/models/llama.ts';
import { UsageError } from '../exit.ts';
import { interruptible } from '../interrupt.ts';
import { progress } from '../progress.ts';

export interface ImatrixOptions {
  readonly text: string;
  readonly output: string;
  readonly limitWindows?: number;
  readonly json?: boolean;
}

export async function imatrix(path: string, options: ImatrixOptions): Promise<void> {
  const { output } = options;
  if (!/\.(gguf|dat)$/.test(output))
    throw new UsageError(`The output ${output} ends neither in .gguf nor in .dat`);
  const text = await readFile(options.text, 'utf8');
  const model = await loadLlama(path);
  const sums = await interruptible(async (signal) => {
    let bar: ReturnType<typeof progress> | undefined;
    try {
      return await collectImportance(model, text, basename(options.text), {
        limit: options.limitWindows,
        signal,
        onProgress: (done, total, loss) => {
          bar ??= progress(total, 'calibrating');
          bar.update(done, `${loss.toFixed(3)} nats/token`);
        },
      });
    } finally {
      bar?.stop();
      model.dispose();
    }
  });
  await writeImatrix(output, sums);
  const tokens = sums.chunks * sums.chunkSize;
  if (options.json)
    console.log(
      JSON.stringify({ output, tensors: [...sums.entries.keys()], chunks: sums.chunks, tokens }),
    );
  else
    console.log(
      `${sums.entries.size} matrices over ${sums.chunks} windows (${tokens} tokens): ${output}`,
    );
}
