// quern formats: the built-in formats and what they store.
import pc from 'picocolors';
import { describe } from '../../compiler/index.ts';
import { storageBytes } from '../../compiler/ir/dtype.ts';
import type { FieldInfo } from '../../compiler/artifact.ts';
import { evaluatePoly } from '../../runtime/poly.ts';
import { table } from '../table.ts';

/** Costs of fields that occur once a row or a tensor are quoted for a matrix of this size. */
const side = 4096;

/** Shape of one occurrence of a field. */
const own = (f: FieldInfo): number[] =>
  f.shape.map((code) => evaluatePoly(code, { N: side, K: side }));

function bytesOf(f: FieldInfo, block: readonly number[]): number {
  const [rows, columns] = block.length === 2 ? block : [1, block[0]!];
  const grid = { block: [side / rows!, Math.ceil(side / columns!)], row: [side], tensor: [] }[
    f.level
  ];
  return storageBytes(f.dtype, [...grid, ...own(f)]);
}

/** `d f16`, `q u4[32]`, `scale f32 a tensor`. */
function fieldText(f: FieldInfo): string {
  const size = own(f).length ? `[${own(f).join(', ')}]` : '';
  return `${f.name} ${f.dtype}${size}${f.level === 'block' ? '' : ` a ${f.level}`}`;
}

export async function formats(options: { readonly json?: boolean }): Promise<void> {
  const { exports } = describe('quern/formats');
  const rows = exports.flatMap((e) => {
    if (e.kind !== 'format') return [];
    const bytes = e.fields.reduce((n, f) => n + bytesOf(f, e.block), 0);
    return [
      {
        name: e.name,
        block: e.block,
        bitsPerWeight: (8 * bytes) / side ** 2,
        fields: e.fields.map(fieldText),
        layout: e.hasLayout,
      },
    ];
  });
  rows.sort((a, b) => b.bitsPerWeight - a.bitsPerWeight);
  if (options.json) {
    console.log(JSON.stringify(rows));
    return;
  }
  console.log(
    table(
      ['format', 'block', 'bits/weight', 'fields', 'byte layout'],
      'lrrll',
      rows.map((r) => [
        r.name,
        r.block.join(' x '),
        r.bitsPerWeight.toFixed(3),
        r.fields.join(', '),
        r.layout ? 'yes' : '',
      ]),
    ),
  );
  console.log(
    `\nAlso ${pc.bold('uniform(bits=…, group=…, symmetric=…)')}: 2 to 8 bits, any group; and your own: ./mine.ts#name`,
  );
}
