// Contractions of small integers whose right side lies along its columns, as keys that are encoded channel by channel do.
// A product of four bytes wants four elements of depth side by side: bytes of four rows of the right side are brought so into
// a panel, codes below a byte as they are stored, and taken from their bytes when they are multiplied. A panel holds a piece
// of depth of as many strips of columns as make long reads of memory: neighbours in a row, or of the next index of a batch.
import type { Dim } from '../ir/algebra.ts';
import { floorDiv, Poly } from '../ir/algebra.ts';
import type { Value } from '../ir/ir.ts';
import type { Buffer } from '../loops/loops.ts';
import { type ColumnsPlan, type Format, pieceDepth, planColumns } from './int-columns-plan.ts';
import { clearSums, finishSums, multiply } from './int-columns-dots.ts';
import { prepareLeft } from './int-columns-left.ts';
import { fillPanel } from './int-columns-panel.ts';
import { walkRows } from './int-columns-walk.ts';
import { type Scratch, Strips, vector, type Work } from './int-columns-strips.ts';
import type { Lowering } from './lowering.ts';
import { pieces, type Piece, restOf } from './pieces.ts';
import { loop, nest } from './nests.ts';

/** Strips and rows of the left side that are taken together at most: with so many strips of codes of 4 bits rows are read two KiB at a time. */
const most = { strips: 128, rows: 16 } as const;

/** Emits the kernel if it is such a contraction; notes why not where it nearly is. */
export function lowerColumns(lo: Lowering, root: Value, buffer: Buffer): boolean {
  const plan = planColumns(lo, root);
  if (!plan) return false;
  if ('reason' in plan) {
    lo.note(`no columns of small integers: ${plan.reason}`);
    return false;
  }
  explain(lo, plan);
  new Columns(lo, plan, buffer).emit();
  return true;
}

function explain(lo: Lowering, { format, block, scaled }: ColumnsPlan): void {
  const { bits, fields, perRow } = format;
  const codes = fields > 1 ? `${fields} codes of ${bits} bits a byte` : 'a byte a code';
  const scale = block ? `a scale for each ${block} of depth` : scaled ? 'one scale' : 'no scale';
  const zero = perRow ? ', what belongs to a row of the right side starts the sums' : '';
  lo.note(`columns of small integers: ${codes}, ${scale} on the left${zero}`);
}

class Columns {
  readonly #lo: Lowering;
  readonly #plan: ColumnsPlan;
  readonly #out: Buffer;
  /** Lengths of the pieces: literal, so that scratch is. */
  readonly #depth: number;
  readonly #rows: number;
  readonly #block: number;

  constructor(lo: Lowering, plan: ColumnsPlan, out: Buffer) {
    this.#lo = lo;
    this.#plan = plan;
    this.#out = out;
    const atMost = (d: Dim, n: number): number => Math.min(d.constant ?? n, n);
    this.#depth = Math.ceil(atMost(plan.depth, pieceDepth) / vector) * vector;
    this.#rows = atMost(plan.rows, most.rows);
    this.#block = plan.block ?? this.#depth;
  }

  emit(): void {
    const { columns, format, rest } = this.#plan;
    const whole = floorDiv(columns, format.width);
    if (whole.constant !== 0) this.#pass(format, whole);
    if (!rest) return;
    const from = restOf(this.#lo, columns, Poly.of(0), format.width);
    this.#pass(rest, floorDiv(columns.add(vector - 1), vector), from);
  }

  /** Goes over all strips of a format; `from`: those of the columns that are left over. */
  #pass(format: Format, strips: Dim, from?: Poly): void {
    const lo = this.#lo;
    const { batch, rows } = this.#plan;
    const inner = batch.at(-1) ?? Poly.of(1);
    const count = strips.constant;
    const together = from ? 1 : Math.min(count ?? most.strips, most.strips);
    const items = from
      ? 1
      : Math.min(inner.constant ?? most.strips, Math.floor(most.strips / together));
    const outer = batch.slice(0, -1);
    const own = outer.every((d) => d.constant === 1);
    nest(
      lo,
      outer,
      (ids) =>
        pieces(lo, inner, items, own, 'items', (its) =>
          pieces(lo, rows, this.#rows, false, 'rows', (some) => {
            const work = (piece: Piece): Work => ({
              format,
              strips: piece,
              items: its,
              rows: some,
              ids,
            });
            const alone = own && inner.constant === 1;
            if (!from) {
              pieces(lo, strips, together, alone, 'strips', (s) =>
                this.#strips(work(s), [items, together]),
              );
              return;
            }
            loop(
              lo,
              this.#plan.columns.add(vector - 1),
              vector,
              alone,
              (c) => this.#strips(work({ from: c, to: c.add(1), length: Poly.of(1) }), [1, 1], c),
              from,
              'rest',
            );
          }),
        ),
      true,
    );
  }

  /** The results of some strips; `rest`: the first of the columns of one that may not be whole. */
  #strips(w: Work, [items, together]: readonly [number, number], rest?: Poly): void {
    const lo = this.#lo;
    const { em } = lo;
    const { depth, scaled, inPlace, left, scalar } = this.#plan;
    const n = items * together;
    const { width, bits, perRow, shift, range } = w.format;
    const make = (name: string, dtype: Buffer['dtype'], size: number): Buffer =>
      em.newBuffer(name, dtype, 'temp', Poly.of(size));
    const per = this.#depth / this.#block;
    const started = perRow !== undefined || shift !== 0;
    const panelOf = bits < 8 || range[0] >= 0 ? 'u8' : 'i8';
    const s: Scratch = {
      panel: make('panel', panelOf, (n * this.#depth * width * bits) / 8),
      perRow: perRow ? make('zeros', perRow.dtype, n * this.#depth) : undefined,
      codes: inPlace ? undefined : make('codes', 'i8', items * this.#rows * this.#depth),
      scales: scaled ? make('scales', 'f32', items * this.#rows * per) : undefined,
      starts: started ? make('starts', 'i32', n * this.#rows * per) : undefined,
      sums: make('sums', scalar, n * this.#rows * width),
      walked: make('walked', 'i32', 1),
    };
    if (bits === 8) Object.assign(s.panel, { range });
    if (s.codes) Object.assign(s.codes, { range: left });
    if (s.perRow && perRow) Object.assign(s.perRow, { range: perRow.range });
    const p = new Strips(
      lo,
      this.#plan,
      w,
      s,
      {
        depth: this.#depth,
        rows: this.#rows,
        block: this.#block,
        together,
      },
      rest,
    );
    clearSums(p);
    pieces(lo, depth, this.#depth, false, 'depth', (deep) => {
      walkRows(p, deep);
      fillPanel(p, deep);
      prepareLeft(p, deep);
      multiply(p, deep);
    });
    finishSums(p, this.#out);
  }
}
