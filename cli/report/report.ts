// The HTML report: one page that needs nothing else. The charts are drawn by uPlot (50 KB, no dependencies), whose
// script is put into the page: it is a development dependency, copied into the package when that is built, so that
// an installation carries one file in place of a charting library and the thirty packages of another.
import { existsSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Picture } from '../../runtime/models/statistics.ts';

export interface DrawnTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** Of what the tensor became. */
  readonly format: string;
  readonly weights: number;
  readonly bitsPerWeight: number;
  readonly relativeError: number;
  readonly picture: Picture;
}

/** Files of uPlot that the page holds. */
export const uPlotFiles = ['uPlot.iife.min.js', 'uPlot.min.css'] as const;

/** Beside this file in the package; from the development dependency in a checkout. */
function uPlotFile(name: (typeof uPlotFiles)[number]): string {
  const copied = fileURLToPath(new URL(name, import.meta.url));
  if (existsSync(copied)) return copied;
  const main = createRequire(import.meta.url).resolve('uplot');
  return join(dirname(main), name);
}

/** Short numbers: a picture needs no more. */
const short = (list: Iterable<number>): number[] =>
  Array.from(list, (x) => Number(x.toPrecision(3)));

/** JSON inside of a script element: nothing in it may end the element. */
const embedded = (x: unknown): string => JSON.stringify(x).replaceAll('<', '\\u003c');

export async function writeReport(
  file: string,
  title: string,
  tensors: readonly DrawnTensor[],
): Promise<void> {
  const data = tensors.map(({ picture, ...t }) => ({
    ...t,
    mapRows: picture.mapRows,
    mapColumns: picture.mapColumns,
    map: short(picture.map),
    histogram: [...picture.weights],
    levels: [...picture.levels],
  }));
  const parts: { readonly [name: string]: string } = {
    TITLE: title.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`),
    CSS: await readFile(uPlotFile('uPlot.min.css'), 'utf8'),
    UPLOT: await readFile(uPlotFile('uPlot.iife.min.js'), 'utf8'),
    DATA: embedded(data),
  };
  const template = await readFile(new URL('page.template', import.meta.url), 'utf8');
  const page = template.replace(/\{\{([A-Z]+)\}\}/g, (_, name: string) => parts[name]!);
  const beside = `${file}.${process.pid}.tmp`;
  await writeFile(beside, page);
  await rename(beside, file);
}
