// The self-describing part of a compressed model: which tensors are stored in which format, field by field. It is
// JSON under the key "quern" of the safetensors metadata; the fields are tensors named `<tensor>.<field>`.
import type { FormatRef, Json } from '../../compiler/artifact.ts';
import { type DType, isDType } from '../../compiler/ir/dtype.ts';
import { ModelError } from './errors.ts';

export const archiveKey = 'quern';

export interface ArchivedField {
  readonly dtype: DType;
  readonly shape: readonly number[];
}
export interface ArchivedTensor {
  /** `file` of a user's format is relative to the folder of the archive. */
  readonly format: FormatRef;
  readonly shape: readonly number[];
  readonly fields: { readonly [name: string]: ArchivedField };
}
export interface Archive {
  readonly version: 1;
  readonly quern: string;
  readonly tensors: { readonly [name: string]: ArchivedTensor };
}

export const fieldTensor = (tensor: string, field: string): string => `${tensor}.${field}`;

const isRecord = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && !Array.isArray(x);
const isShape = (x: unknown): x is number[] =>
  Array.isArray(x) && x.length <= 8 && x.every((n) => Number.isSafeInteger(n) && n >= 0);

/** Reads the JSON of the metadata. The file may come from anywhere, so every part is checked. */
export function parseArchive(text: string, where: string): Archive {
  const bad = (what: string): never => {
    throw new ModelError(
      'Q6008',
      `${where}: the description of the compressed tensors is damaged: ${what}`,
      'Compress the model again with this version of Quern.',
    );
  };
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (e) {
    return bad((e as Error).message);
  }
  if (!isRecord(parsed) || !isRecord(parsed.tensors)) return bad('no list of tensors');
  if (parsed.version !== 1)
    throw new ModelError(
      'Q6008',
      `${where} has archive version ${JSON.stringify(parsed.version)}; this Quern reads version 1`,
    );
  const tensors: { [name: string]: ArchivedTensor } = Object.create(null);
  for (const [name, t] of Object.entries(parsed.tensors)) {
    if (!isRecord(t) || !isShape(t.shape) || !isRecord(t.format) || !isRecord(t.fields))
      return bad(name);
    const { file, name: formatName, args } = t.format;
    if (
      typeof file !== 'string' ||
      typeof formatName !== 'string' ||
      (args !== undefined && !Array.isArray(args))
    )
      return bad(`the format of ${name}`);
    const fields: { [field: string]: ArchivedField } = Object.create(null);
    for (const [field, f] of Object.entries(t.fields)) {
      if (!isRecord(f) || typeof f.dtype !== 'string' || !isDType(f.dtype) || !isShape(f.shape))
        return bad(fieldTensor(name, field));
      fields[field] = { dtype: f.dtype, shape: f.shape };
    }
    const format: FormatRef = { file, name: formatName, ...(args ? { args: args as Json[] } : {}) };
    tensors[name] = { format, shape: t.shape, fields };
  }
  return { version: 1, quern: String(parsed.quern), tensors };
}
