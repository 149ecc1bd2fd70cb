// Diagnostics as text for people: where, what, the source line with an underline, what to do. Pure: the caller
// says how to read files, so that the command line, tests and an editor print the same.
import pc from 'picocolors';
import type { Diagnostic, Span } from './diagnostic.ts';

export interface RenderOptions {
  /** Colours for a terminal; plain text by default. */
  readonly color?: boolean;
}
/** The text of a file as it was compiled; undefined if it cannot be had, and then no excerpt is shown. */
export type ReadText = (file: string) => string | undefined;

/** A place in a text; line and column count from 1, columns in UTF-16 units as editors do. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

type Colors = ReturnType<typeof pc.createColors>;
const contextLines = 2;
const tabWidth = 4;

export function positionOf(text: string, offset: number): Position {
  const before = text.slice(0, offset);
  const line = before.split('\n').length;
  return { line, column: offset - (before.lastIndexOf('\n') + 1) + 1 };
}

/** `file:line:column`, or what is known of it; nothing for a diagnostic without a place. */
function placeOf(span: Span, text: string | undefined): string {
  if (!span.file) return '';
  if (text === undefined) return span.file;
  const { line, column } = positionOf(text, span.start);
  return `${span.file}:${line}:${column}`;
}

/** Tabs become spaces up to the next tab stop, so that the underline stands below its text on any terminal. */
function expandTabs(line: string): string {
  let out = '';
  for (const c of line) out += c === '\t' ? ' '.repeat(tabWidth - (out.length % tabWidth)) : c;
  return out;
}

/** The line of the span with up to two lines before and after it, numbered, and the span underlined. */
function excerpt(text: string, span: Span, c: Colors): string[] {
  const lines = text.split('\n').map((l) => l.replace(/\r$/, ''));
  const { line, column } = positionOf(text, span.start);
  const shown = lines[line - 1]!;
  const first = Math.max(1, line - contextLines);
  const last = Math.min(lines.length, line + contextLines);
  const width = String(last).length;
  const gutter = (label: string): string => c.dim(`${label.padStart(width + 2)} | `);

  // A span of several lines is underlined to the end of its first.
  const inLine = Math.min(span.end, span.start + shown.length - (column - 1)) - span.start;
  const from = expandTabs(shown.slice(0, column - 1)).length;
  const to = expandTabs(shown.slice(0, column - 1 + Math.max(0, inLine))).length;
  const underline = ' '.repeat(from) + c.red('^'.repeat(Math.max(1, to - from)));

  const out: string[] = [];
  for (let n = first; n <= last; n++) {
    // Blank lines at the edge of the excerpt say nothing.
    if ((n === first || n === last) && n !== line && lines[n - 1]!.trim() === '') continue;
    out.push((gutter(String(n)) + expandTabs(lines[n - 1]!)).trimEnd());
    if (n === line) out.push(gutter('') + underline);
  }
  return out;
}

/** A labelled fact; further lines of its text are indented to the first. */
function fact(label: string, text: string | undefined, c: Colors): string[] {
  if (!text) return [];
  const [first, ...rest] = text.split('\n');
  const head = `  ${`${label}:`.padEnd(10)}`;
  return [`${c.cyan(head)}${first}`, ...rest.map((l) => ' '.repeat(head.length) + l)];
}

function renderOne(d: Diagnostic, readText: ReadText, c: Colors): string {
  const read = (span: Span): string | undefined => (span.file ? readText(span.file) : undefined);
  const text = read(d.span);
  const place = placeOf(d.span, text);
  const head = `${c.red('error')} ${c.bold(d.code)}${place ? ` ${place}` : ''}`;
  const out = [head, `  ${c.bold(d.message)}`];
  if (text !== undefined) out.push(...excerpt(text, d.span, c));
  out.push(...fact('found', d.found, c));
  out.push(...fact('expected', d.expected, c));
  out.push(...fact('hint', d.hint, c));
  for (const r of d.related ?? []) {
    const other = read(r.span);
    out.push(...fact('see', `${placeOf(r.span, other)} ${r.message}`.trim(), c));
    const line = other?.split('\n')[positionOf(other, r.span.start).line - 1]?.trim();
    if (line) out.push(c.dim(`${' '.repeat(12)}${expandTabs(line)}`));
  }
  return out.join('\n');
}

/**
 * All diagnostics with their excerpts, and a last line such as `2 errors`. The text ends without a newline;
 * it is empty if there are no diagnostics.
 */
export function renderDiagnostics(
  diagnostics: readonly Diagnostic[],
  readText: ReadText,
  options: RenderOptions = {},
): string {
  if (diagnostics.length === 0) return '';
  const c = pc.createColors(options.color ?? false);
  const n = diagnostics.length;
  const summary = c.bold(`${n} error${n === 1 ? '' : 's'}`);
  return [...diagnostics.map((d) => renderOne(d, readText, c)), summary].join('\n\n');
}
