// Where a model is written: the folder is made if need be, and taken away again if nothing came of it.
import { constants } from 'node:fs';
import { access, mkdir, readFile, rmdir, stat } from 'node:fs/promises';
import { dirname, extname, join, resolve } from 'node:path';
import { reasonOf } from '../errors.ts';
import type { Companion } from './container.ts';
import { ModelError } from './errors.ts';

/** The folder that holds a model's config and tokenizer. */
export async function folderOf(model: string): Promise<string> {
  const info = await stat(model).catch(() => undefined);
  if (!info)
    throw new ModelError(
      'Q6001',
      `There is no ${model}`,
      'Give a folder, a .safetensors or .gguf file, or an index.json.',
    );
  return info.isDirectory() ? model : dirname(model);
}

/** The file that an output names: itself, or model.safetensors in the folder that it names. */
export const outputFile = (output: string): string =>
  ['.safetensors', '.gguf'].includes(extname(output)) ? output : join(output, 'model.safetensors');

/** Runs `fill` with the folder of `path` made and writable; `inputs` are the files being read. */
export async function inPlace<T>(
  path: string,
  inputs: readonly string[],
  fill: () => Promise<T>,
): Promise<T> {
  const folder = dirname(path);
  if (inputs.some((p) => resolve(p) === resolve(path)))
    throw new ModelError('Q6010', `${path} is the model that is being read`, 'Write elsewhere.');
  const made = await mkdir(folder, { recursive: true }).catch((e) => unwritable(folder, e));
  try {
    await access(folder, constants.W_OK).catch((e) => unwritable(folder, e));
    return await fill();
  } catch (e) {
    // A folder made for the output goes too, if it is still empty.
    if (made) await rmdir(folder).catch(() => {});
    throw e;
  }
}

const unwritable = (path: string, e: unknown): never => {
  throw new ModelError(
    'Q6010',
    `Cannot write to ${path}: ${reasonOf(e)}`,
    'Check that the place exists and may be written.',
  );
};

/** The text of a file beside a model; undefined if it is not there. */
export async function besideText(folder: string, name: string): Promise<string | undefined> {
  return readFile(join(folder, name), 'utf8').catch((e: NodeJS.ErrnoException) => {
    if (e.code === 'ENOENT') return undefined;
    throw e;
  });
}

/** Files that go along unchanged, where they are there and do not lie in the output's folder already. */
export async function companionsOf(
  source: string,
  output: string,
  names: readonly string[],
): Promise<Companion[]> {
  if (resolve(source) === resolve(dirname(output))) return [];
  const found: Companion[] = [];
  for (const name of names) {
    const bytes = await readFile(join(source, name)).catch((e: NodeJS.ErrnoException) => {
      if (e.code === 'ENOENT') return undefined;
      throw e;
    });
    if (bytes) found.push({ name, bytes });
  }
  return found;
}
