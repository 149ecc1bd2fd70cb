// The hand-written WebAssembly kernels that the project set out from, where the folder with them lies beside the repository. They
// are imported, not part of it: without that folder the column is absent.
import { existsSync } from 'node:fs';
import { type Candidate, type Entrant, type Expected, Missing, type Mode } from '../contest.ts';
import { type Codes, type Product, type Source, tolerances } from '../product.ts';
import { laneRows, panels } from './hand-layout.ts';
import { Arena, assemble, type WasmFunction } from './wat.ts';

/** The functions of that file that are used here; each gives a kernel as text. */
interface Texts {
  act_quant(name: string, o: { kind?: string; zp?: number; h112?: boolean }): string;
  q4_v2(name: string, o: { G: number; streams: number; bits: number; xor: boolean }): string;
  q4_gemm2(name: string, o: { G: number; MT: number; K: number; layout: string }): string;
  f32_gemv(name: string, o: { R: number; U: number }): string;
  f32_gemm(name: string, o: { MT: number; NV: number }): string;
  quant4x(name: string, kind: string | readonly number[]): string;
  moduleText(functions: readonly string[]): string;
}

const file = new URL('../../../shared/perf/wat_kernels.mjs', import.meta.url);

async function texts(): Promise<Texts> {
  if (!existsSync(file)) throw new Missing('no ../shared/perf beside this checkout');
  return (await import(file.href)) as Texts;
}

async function kernels(t: Texts, functions: readonly string[], arena: Arena) {
  return assemble(t.moduleText(functions), arena, ['e', 'm']);
}

const up = (x: number, step: number): number => Math.ceil(x / step) * step;

/** Addresses of x, its 8-bit codes, their records and the result, and room for the copies of the weights. */
function operands(p: Product, m: number, weights: Uint8Array, copies: number) {
  const rows = up(m, 6);
  const sizes = [rows * p.k * 4, rows * p.k * 2, (rows * p.k) / 4, rows * p.n * 4, 2 ** 20];
  const room = sizes.reduce((a, b) => a + b + 4096, 0);
  const arena = new Arena(room + copies * (weights.length + 4096));
  const [x, codes, records, y, scratch] = sizes.map((s) => arena.allocate(s)) as [
    number,
    number,
    number,
    number,
    number,
  ];
  arena.f32(x, m * p.k).set(p.x(m));
  return { arena, x, codes, records, y, scratch, places: arena.copies(weights, copies) };
}

/** How the activations are coded for weights of so many bits, and what the record of a block corrects. */
const activations = {
  2: { kind: 'i8', zp: 2 },
  4: { kind: 'i8', zp: 8 },
  8: { kind: 'abs' },
} as const;
/** Groups of rows read together and places read at once: what was fastest in each mode. */
const shapes = { cold: { G: 1, streams: 4 }, hot: { G: 2, streams: 2 } } as const;

const candidate = (
  what: string,
  source: Source,
  m: number,
  o: { arena: Arena; y: number; places: readonly number[] },
  bytes: number,
  expected: Expected,
  tolerance: number,
  run: (place: number) => void,
): Candidate => ({
  what,
  copies: o.places.length,
  bytes,
  ops: source.product.ops(m),
  run: (copy) => run(o.places[copy]!),
  check: {
    result: async () => {
      run(o.places[0]!);
      return o.arena.f32(o.y, m * source.product.n);
    },
    expected,
    tolerance,
  },
  dispose: () => {},
});

/** One row of activations times weights of 2, 4 or 8 bits, in a kernel of its own for each mode. */
export const handGemv = (source: Source, codes: () => Promise<Codes>): Entrant[] =>
  (Object.keys(shapes) as Mode[]).map((mode) => ({
    column: 'hand',
    modes: [mode],
    make: async () => {
      const t = await texts();
      const c = await codes();
      const { G, streams } = shapes[mode];
      const bytes = laneRows(c, G);
      const { product: p } = source;
      const o = operands(p, 1, bytes, mode === 'hot' ? 1 : source.copies(bytes.length));
      const { encode, multiply } = (await kernels(
        t,
        [
          t.act_quant('encode', { ...activations[c.bits], h112: true }),
          t.q4_v2('multiply', { G, streams, bits: c.bits, xor: c.bits === 8 }),
        ],
        o.arena,
      )) as { encode: WasmFunction; multiply: WasmFunction };
      const what = `lanes are rows, ${streams} streams`;
      const want = await source.expected(1);
      return candidate(what, source, 1, o, bytes.length, want, tolerances.q8, (w) => {
        encode(o.x, o.codes, o.records, p.k / 32);
        multiply(w, o.codes, o.records, o.y, p.n / 4, p.k / 32);
      });
    },
  }));

/** Many rows of activations times 4-bit weights: panels of eight rows, tiles of 8 x 4. */
export const handGemm = (source: Source, m: number, codes: () => Promise<Codes>): Entrant => ({
  column: 'hand',
  make: async () => {
    const t = await texts();
    const c = await codes();
    if (c.bits !== 4) throw new Missing(`no hand-written product of ${c.bits}-bit weights`);
    const bytes = laneRows(c, 2);
    const { product: p } = source;
    const o = operands(p, m, bytes, source.copies(bytes.length));
    const { encode, multiply } = (await kernels(
      t,
      [t.act_quant('encode', {}), t.q4_gemm2('multiply', { G: 2, MT: 4, K: p.k, layout: 'rows' })],
      o.arena,
    )) as { encode: WasmFunction; multiply: WasmFunction };
    const want = await source.expected(m);
    return candidate('tiles of 8 x 4', source, m, o, bytes.length, want, tolerances.q8, (w) => {
      encode(o.x, o.codes, o.records, (p.k / 32) * m);
      multiply(w, o.codes, o.records, o.y, p.n / 4, m, p.n, o.scratch, o.scratch + 2 ** 19, 0);
    });
  },
});

/** f32 weights. The tiled product takes six rows of activations at a time: the last rows of 16 or 128 are padding. */
export const handDense = (source: Source, m: number): Entrant => ({
  column: 'hand',
  make: async () => {
    const t = await texts();
    const { product: p } = source;
    const weights = m === 1 ? p.weights : panels(p.weights, p.n, p.k);
    const bytes = new Uint8Array(weights.buffer);
    const o = operands(p, m, bytes, source.copies(bytes.length));
    const text = m === 1 ? t.f32_gemv('f', { R: 8, U: 1 }) : t.f32_gemm('f', { MT: 6, NV: 2 });
    const { f } = (await kernels(t, [text], o.arena)) as { f: WasmFunction };
    const what = m === 1 ? 'eight rows at once' : 'tiles of 6 x 8';
    const want = await source.expected(m);
    return candidate(what, source, m, o, bytes.length, want, tolerances.f32, (w) => {
      if (m === 1) f(w, o.x, o.y, p.n, p.k);
      else f(w, o.x, o.y, p.n / 8, p.k, up(m, 6), p.n);
    });
  },
});

/** Blocks of 32 encoded four at a time. `levels`: thresholds between the levels of a codebook, in 127ths of the largest magnitude. */
export const handEncode = (
  kind: 'q8_0' | 'q4_0' | { readonly levels: readonly number[] },
  input: Float32Array,
  copiesOf: (bytes: number) => number,
  check: (blocks: Uint8Array) => Float32Array,
  expected: Expected,
  tolerance: number,
): Entrant => ({
  column: 'hand',
  make: async () => {
    const t = await texts();
    const copies = copiesOf(input.byteLength);
    const blockBytes = kind === 'q8_0' ? 34 : 18;
    const room = (input.length / 32) * blockBytes;
    const arena = new Arena(copies * (input.byteLength + 4096) + room + 8192);
    const out = arena.allocate(room + 4096);
    const places = arena.copies(
      new Uint8Array(input.buffer, input.byteOffset, input.byteLength),
      copies,
    );
    const text = t.quant4x('f', typeof kind === 'string' ? kind : kind.levels);
    const { f } = (await kernels(t, [text], arena)) as { f: WasmFunction };
    return {
      what: 'four blocks at a time',
      copies,
      bytes: input.byteLength,
      run: (copy) => void f(places[copy]!, out, input.length / 32),
      check: {
        result: async () => {
          f(places[0]!, out, input.length / 32);
          return check(arena.u8(out, room));
        },
        expected,
        tolerance,
      },
      dispose: () => {},
    };
  },
});
