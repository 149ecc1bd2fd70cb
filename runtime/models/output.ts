// Where a compressed model is written: a safetensors file that describes itself, with the config and the tokenizer
// of the source beside it. Whatever goes wrong, nothing half-written keeps a final name.
import { constants } from 'node:fs';
import { access, copyFile, mkdir, rmdir, stat } from 'node:fs/promises';
import { dirname, extname, isAbsolute, join, relative, resolve } from 'node:path';
import type { FormatRef } from '../../compiler/artifact.ts';
import { reasonOf } from '../errors.ts';
import {
  SafetensorsWriter,
  type TensorEntry,
  type TensorPlan,
  storedAs,
} from '../files/safetensors.ts';
import type { FieldLayout } from '../formats.ts';
import { type Archive, type ArchivedTensor, archiveKey, fieldTensor } from './archive.ts';
import { ModelError } from './errors.ts';

export interface OutputPlan {
  /** The source; its config.json and tokenizer.json are copied. */
  readonly model: string;
  /** A folder, or a path that ends in .safetensors. */
  readonly output: string;
  readonly format: FormatRef;
  readonly version: string;
  readonly tensors: readonly TensorEntry[];
  /** Fields of the matrices that are encoded. */
  readonly layouts: ReadonlyMap<string, readonly FieldLayout[]>;
}

const beside = ['config.json', 'tokenizer.json'];

/** The folder that holds a model's config and tokenizer. */
export async function folderOf(model: string): Promise<string> {
  const info = await stat(model).catch(() => undefined);
  if (!info)
    throw new ModelError(
      'Q6001',
      `There is no ${model}`,
      'Give a folder, a .safetensors file or an index.json.',
    );
  return info.isDirectory() ? model : dirname(model);
}

/** Writes the file through `fill`, which appends the tensors in the order of the plan. Gives the file's path. */
export async function writeModel(
  plan: OutputPlan,
  fill: (append: SafetensorsWriter['append']) => Promise<void>,
): Promise<string> {
  const asFile = extname(plan.output) === '.safetensors';
  const folder = asFile ? dirname(plan.output) : plan.output;
  const path = asFile ? plan.output : join(plan.output, 'model.safetensors');
  const source = await folderOf(plan.model);
  if ([plan.model, join(source, 'model.safetensors')].some((p) => resolve(p) === resolve(path)))
    throw new ModelError('Q6010', `${path} is the model that is being read`, 'Write elsewhere.');
  const made = await mkdir(folder, { recursive: true }).catch((e) => unwritable(folder, e));
  try {
    await access(folder, constants.W_OK).catch((e) => unwritable(folder, e));
    const metadata = { [archiveKey]: JSON.stringify(describe(plan, resolve(folder))) };
    const writer = await SafetensorsWriter.create(path, stored(plan), metadata);
    try {
      await fill((name, bytes) => writer.append(name, bytes));
      if (resolve(source) !== resolve(folder))
        for (const name of beside) await copyIfThere(join(source, name), join(folder, name));
      await writer.finish();
    } catch (e) {
      await writer.abort();
      throw e;
    }
  } catch (e) {
    // A folder made for the output goes too, if it is still empty.
    if (made) await rmdir(folder).catch(() => {});
    throw e;
  }
  return path;
}

const unwritable = (path: string, e: unknown): never => {
  throw new ModelError(
    'Q6010',
    `Cannot write to ${path}: ${reasonOf(e)}`,
    'Check that the place exists and may be written.',
  );
};

/** The tensors of the file: the fields of encoded matrices in place of the matrices. */
function stored({ tensors, layouts }: OutputPlan): TensorPlan[] {
  return tensors.flatMap(
    (t) =>
      layouts
        .get(t.name)
        ?.map((f) => ({ name: fieldTensor(t.name, f.name), ...storedAs(f.dtype, f.shape) })) ?? [
        { name: t.name, dtype: t.dtype, shape: t.shape },
      ],
  );
}

function describe({ format, layouts, tensors, version }: OutputPlan, folder: string): Archive {
  // A user's format is named relative to the archive, so that the two can move together.
  const file = isAbsolute(format.file) ? relative(folder, format.file) : format.file;
  const entries = tensors.flatMap((t): [string, ArchivedTensor][] => {
    const layout = layouts.get(t.name);
    if (!layout) return [];
    const fields = layout.map((f) => [f.name, { dtype: f.dtype, shape: f.shape }] as const);
    return [
      [t.name, { format: { ...format, file }, shape: t.shape, fields: Object.fromEntries(fields) }],
    ];
  });
  return { version: 1, quern: version, tensors: Object.fromEntries(entries) };
}

async function copyIfThere(from: string, to: string): Promise<void> {
  await copyFile(from, to).catch((e: NodeJS.ErrnoException) => {
    if (e.code !== 'ENOENT') unwritable(to, e);
  });
}
