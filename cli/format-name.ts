// The notation of formats and kernels on the command line:
//   q4_0    uniform(bits=3, group=64)    ./mine.ts#tern    ops/llama.ts#linear<q4_0>    ...#rope(32, 10000)
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { FormatRef, Json } from '../compiler/artifact.ts';
import { UsageError } from './exit.ts';

export interface KernelName {
  readonly file: string;
  readonly name: string;
  readonly formats: readonly FormatRef[];
  readonly statics: readonly Json[];
}

/** `text` cut at `separator`, but not inside brackets or quotes. */
function split(text: string, separator: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let quoted = false;
  let start = 0;
  for (let i = 0; i < text.length; i += 1) {
    const c = text[i]!;
    if (c === '"') quoted = !quoted;
    else if (quoted) continue;
    else if ('([{<'.includes(c)) depth += 1;
    else if (')]}>'.includes(c)) depth -= 1;
    else if (c === separator && depth === 0) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  return [...parts, text.slice(start)].map((p) => p.trim());
}

function literal(text: string, whole: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    // A bare word is a string, so that kind=symmetric needs no quotes in a shell.
    if (/^[A-Za-z_][\w-]*$/.test(text)) return text;
    throw new UsageError(
      `Cannot read the argument \`${text}\` in \`${whole}\`: write numbers, true, false, words or JSON`,
    );
  }
}

/** `bits=3, group=64` is one options object; `3, 64` are positional arguments. */
function args(inside: string, whole: string): Json[] {
  if (!inside.trim()) return [];
  const options: { [k: string]: Json } = {};
  const positional: Json[] = [];
  for (const part of split(inside, ',')) {
    const named = /^([A-Za-z_]\w*)\s*=\s*(.+)$/.exec(part);
    if (named) options[named[1]!] = literal(named[2]!, whole);
    else positional.push(literal(part, whole));
  }
  return Object.keys(options).length ? [...positional, options] : positional;
}

const shape =
  /^(?:(?<file>[^#]+)#)?(?<name>[A-Za-z_$][\w$.]*)(?:<(?<formats>.*)>)?(?:\((?<args>.*)\))?$/;

function parse(
  text: string,
  expected: string,
): { file: string; name: string; formats: string; args: string | undefined } {
  const groups = shape.exec(text.trim())?.groups;
  if (!groups) throw new UsageError(`Cannot read \`${text}\`: expected ${expected}`);
  const given = groups.file ?? 'quern/formats';
  const file = given === 'quern/formats' ? given : resolve(given);
  if (file !== 'quern/formats' && !existsSync(file))
    throw new UsageError(`No file ${given} (in \`${text}\`)`);
  return { file, name: groups.name!, formats: groups.formats ?? '', args: groups.args };
}

export function formatOf(text: string): FormatRef {
  const p = parse(text, 'q4_0, uniform(bits=3, group=64) or ./mine.ts#name');
  if (p.formats) throw new UsageError(`A format takes no type arguments: \`${text}\``);
  return {
    file: p.file,
    name: p.name,
    ...(p.args === undefined ? {} : { args: args(p.args, text) }),
  };
}

export function kernelOf(text: string): KernelName {
  if (!text.includes('#'))
    throw new UsageError(
      `Cannot read \`${text}\`: expected FILE#NAME, e.g. ops/llama.ts#linear<q4_0>`,
    );
  const p = parse(text, 'FILE#NAME, FILE#NAME<format> or FILE#NAME<format>(constant, ...)');
  return {
    file: p.file,
    name: p.name,
    formats: p.formats ? split(p.formats, ',').map(formatOf) : [],
    statics: p.args === undefined ? [] : args(p.args, text),
  };
}

/** The notation of a format, short enough for a table. */
export function formatText(ref: FormatRef): string {
  const list = (ref.args ?? []).map((a) =>
    a !== null && typeof a === 'object' && !Array.isArray(a)
      ? Object.entries(a)
          .map(([k, v]) => `${k}=${JSON.stringify(v)}`)
          .join(', ')
      : JSON.stringify(a),
  );
  return ref.args ? `${ref.name}(${list.join(', ')})` : ref.name;
}
