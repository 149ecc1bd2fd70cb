// Source maps of compiled kernel files: each line of the module leads to where its author wrote the export.
import { readFileSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import type { Piece } from './javascript.ts';

/** Version 3, https://tc39.es/ecma426/ */
export interface SourceMap {
  readonly version: 3;
  readonly sources: string[];
  readonly sourcesContent: string[];
  readonly names: string[];
  readonly mappings: string;
}

const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
/** Base64 VLQ: five bits a digit, the lowest first, the sign below them. */
function vlq(n: number): string {
  let out = '';
  let rest = n < 0 ? (-n << 1) | 1 : n << 1;
  do {
    out += digits[(rest & 31) | (rest > 31 ? 32 : 0)];
    rest >>>= 5;
  } while (rest);
  return out;
}

/** The map of a module at `file` that is made of these pieces, each of whole lines. */
export function sourceMap(pieces: readonly Piece[], file: string): SourceMap {
  const paths: string[] = [];
  const lines: string[] = [];
  let last = [0, 0, 0];
  for (const { text, origin } of pieces)
    for (const line of text.split('\n').slice(0, -1)) {
      if (!origin) {
        lines.push('');
        continue;
      }
      if (!paths.includes(origin.path)) paths.push(origin.path);
      const place = [paths.indexOf(origin.path), origin.line, origin.column];
      const steps = place.map((x, i) => vlq(x - last[i]!)).join('');
      // The body of a function is a segment of its own, so that its frame in a stack trace finds one.
      const body = line.indexOf('{return ');
      lines.push(`A${steps}${body > 0 ? `,${vlq(body)}AAA` : ''}`);
      last = place;
    }
  return {
    version: 3,
    sources: paths.map((p) => relative(dirname(file), p).replaceAll('\\', '/')),
    sourcesContent: paths.map((p) => readFileSync(p, 'utf8')),
    names: [],
    mappings: lines.join(';'),
  };
}

/** The map as a comment at the end of the module. */
export const asComment = (map: SourceMap): string =>
  `//# sourceMappingURL=data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString('base64')}\n`;
