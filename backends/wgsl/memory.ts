// Loads and stores. Memory is words of 32 bits, or vectors of them: elements of a word move in the widest pieces that the
// declaration allows; narrower ones are shifted out of words, several at a time by a vector shift.
import { type DType, dtypes, scalarOf } from '../../compiler/ir/dtype.ts';
import type { Buffer } from '../../compiler/loops/loops.ts';
import { type Place, windowName, type Word } from './layout.ts';
import { levels } from './tables.ts';
import { piecesOf, typeText, widthOf } from './types.ts';
import { fault, type Text, type Writer } from './writer.ts';

const { atom, add, mul, loose } = levels;
const plain = (text: string): Text => ({ text, level: atom });
/** Letters of the lanes of a piece. */
export const letters = 'xyzw';

/** A buffer's name without that of the tensor that it is a field of. */
const fieldOf = (b: Buffer): string => b.name.split('.').at(-1)!;

const inside = (t: Text, level: number): string => (t.level < level ? `(${t.text})` : t.text);

// ---- indices ----

/** An index plus a number. */
export const plus = (t: Text, n: number): Text =>
  n === 0 ? t : { text: `${inside(t, add)} + ${n}`, level: add };
const shifted = (t: Text, by: number): Text => {
  if (by === 0) return t;
  const before = /^(\w+) >> (\d+)u$/.exec(t.text);
  if (before) return { text: `${before[1]} >> ${Number(before[2]) + by}u`, level: loose };
  return { text: `${inside(t, atom)} >> ${by}u`, level: loose };
};
const scaled = (t: Text, by: number): Text =>
  by === 1 ? t : { text: `${inside(t, mul)} * ${by}`, level: mul };
const lowest = (t: Text, mask: number): Text => ({
  text: `${inside(t, atom)} & ${mask}`,
  level: loose,
});

/** A name for an index that is used several times. */
export function named(w: Writer, t: Text, wish: string): Text {
  if (/^[\w.]+$/.test(t.text)) return t;
  const name = w.temp(wish);
  w.line(`let ${name} = ${t.text};`);
  return plain(name);
}

/** Odd part and exponent of two of a width in bits. */
function factors(bits: number): { odd: number; twos: number } {
  let twos = 0;
  while (bits % 2 ** (twos + 1) === 0) twos += 1;
  return { odd: bits / 2 ** twos, twos };
}

/** Number of the word in which an element starts. */
function wordIndex(i: Text, bits: number): Text {
  const { odd, twos } = factors(bits);
  if (odd === 1) return shifted(i, 5 - twos);
  const rest: Text = { text: `(((${inside(i, atom)} & 31) * ${bits}) >> 5u)`, level: atom };
  return { text: `(${inside(i, atom)} >> 5u) * ${bits} + ${rest.text}`, level: add };
}
/** The bit of that word at which it starts, as u32. */
function bitIndex(i: Text, bits: number): Text {
  const { odd, twos } = factors(bits);
  if (odd === 1) return plain(`u32((${inside(i, atom)} & ${2 ** (5 - twos) - 1}) << ${twos}u)`);
  return plain(`u32(((${inside(i, atom)} & 31) * ${bits}) & 31)`);
}

// ---- words ----

const asWord = (text: string, from: Word, to: Word): string =>
  from === to ? text : `bitcast<${to}>(${text})`;

// ---- array elements ----

/** An array element. */
const get = (w: Writer, p: Place, at: string): string =>
  p.windows
    ? windowed(w, p, 'get', at)
    : p.atomic
      ? `atomicLoad(&${p.name}[${at}])`
      : `${p.name}[${at}]`;
const put = (w: Writer, p: Place, at: string, value: string): string =>
  p.windows ? `${windowed(w, p, 'put', at, value)};` : `${p.name}[${at}] = ${value};`;
type Change = 'atomicAnd' | 'atomicOr' | 'atomicStore';
const change = (w: Writer, p: Place, how: Change, at: string, value: string): string =>
  p.windows ? `${windowed(w, p, how, at, value)};` : `${how}(&${p.name}[${at}], ${value});`;

/** An access through a function that finds the window: it becomes part of the program. */
function windowed(w: Writer, p: Place, how: 'get' | 'put' | Change, ...args: string[]): string {
  const name = `${p.name}_${how}`;
  const { count, elements } = p.windows!;
  const type = p.atomic ? 'u32' : typeText(p.word, p.unit);
  const one = (k: number): string => {
    const element = `${windowName(p, k)}[i${k ? ` - ${k * elements}` : ''}]`;
    if (how === 'get') return p.atomic ? `return atomicLoad(&${element});` : `return ${element};`;
    return how === 'put' ? `${element} = v;` : `${how}(&${element}, v);`;
  };
  // Not a switch: some drivers take minutes for many of them.
  const end = how === 'get' ? '' : ' return;';
  const lines = Array.from({ length: count }, (_, k) =>
    k < count - 1 ? `  if (i < ${(k + 1) * elements}) { ${one(k)}${end} }` : `  ${one(k)}`,
  );
  const head = how === 'get' ? `(i: i32) -> ${type}` : `(i: i32, v: ${type})`;
  w.module.functions.set(name, `fn ${name}${head} {\n${lines.join('\n')}\n}`);
  return `${name}(${args.join(', ')})`;
}

/** Word `at`, as a type of the caller's choice. */
function readWord(w: Writer, b: Buffer, at: Text, to: Word): Text {
  const p = w.place(b);
  const i: Text = p.offset ? { text: `${p.offset} + ${inside(at, add)}`, level: add } : at;
  const raw =
    p.unit === 1
      ? get(w, p, i.text)
      : `${get(w, p, shifted(i, Math.log2(p.unit)).text)}[${lowest(i, p.unit - 1).text}]`;
  return plain(asWord(raw, p.word, to));
}

/** `count` consecutive words from word `at`, which is divided by the unit if the buffer has vectors. */
function readWords(w: Writer, b: Buffer, at: Text, count: number, wish: string): Text[] {
  const p = w.place(b);
  const whole = p.unit > 1 && count % p.unit === 0;
  const out: Text[] = [];
  if (!whole) {
    for (let k = 0; k < count; k += 1) {
      const name = w.temp(wish);
      w.line(`let ${name} = ${readWord(w, b, plus(at, k), 'u32').text};`);
      out.push(plain(name));
    }
    return out;
  }
  const first = shifted(at, Math.log2(p.unit));
  const base = count > p.unit ? named(w, first, `${fieldOf(b)}_i`) : first;
  for (let k = 0; k < count / p.unit; k += 1) {
    const name = w.temp(wish);
    const raw = get(w, p, plus(base, k).text);
    const cast = p.word === 'u32' ? raw : `bitcast<vec${p.unit}u>(${raw})`;
    w.line(`let ${name} = ${cast};`);
    for (let j = 0; j < p.unit; j += 1) out.push(plain(`${name}.${letters[j]}`));
  }
  return out;
}

// ---- loads ----

const isSigned = (d: DType): boolean => dtypes[d].kind === 'int';

/** A stored element, narrower than a word, as a value. */
function widen(d: DType, word: Text, bit: Text, straddles: Text | undefined): Text {
  const { bits } = dtypes[d];
  if (straddles) {
    const low = `(${word.text} >> ${bit.text}) | ${straddles.text}`;
    return isSigned(d)
      ? plain(`extractBits(i32(${low}), 0u, ${bits}u)`)
      : plain(`i32(extractBits(${low}, 0u, ${bits}u))`);
  }
  return isSigned(d)
    ? plain(`extractBits(i32(${word.text}), ${bit.text}, ${bits}u)`)
    : plain(`i32(extractBits(${word.text}, ${bit.text}, ${bits}u))`);
}

/** What the upper word of a pair adds: nothing where the shift is 0. */
const upper = (word: Text, bit: Text): Text =>
  plain(`((${word.text} << 1u) << (31u - ${bit.text}))`);

/** Element `at`, as a value. */
export function loadElement(w: Writer, b: Buffer, at: Text): Text {
  const { bits } = dtypes[b.dtype];
  if (bits === 32) return readWord(w, b, at, scalarOf(b.dtype) as Word);
  const i = named(w, at, 'i');
  const { odd } = factors(bits);
  if (b.dtype === 'f16') {
    const word = readWord(w, b, wordIndex(i, bits), 'u32').text;
    return plain(`${halves(w, word)}[${lowest(i, 1).text}]`);
  }
  if (odd === 1)
    return widen(b.dtype, readWord(w, b, wordIndex(i, bits), 'u32'), bitIndex(i, bits), undefined);
  const word = named(w, wordIndex(i, bits), 'word');
  const bit = named(w, bitIndex(i, bits), 'bit');
  const low = readWord(w, b, word, 'u32');
  const high = readWord(w, b, plus(word, 1), 'u32');
  return widen(b.dtype, low, bit, upper(high, bit));
}

/** `lanes` elements from element `at`, of which `align` is a divisor: the pieces. */
export function loadVector(w: Writer, b: Buffer, at: Text, lanes: number, align: number): Text[] {
  const { bits } = dtypes[b.dtype];
  if (bits < 32) return unpack(w, b.dtype, wordsAt(w, b, at, lanes, align), lanes);
  const p = w.place(b);
  const to = scalarOf(b.dtype) as Word;
  const width = widthOf(lanes);
  if (p.unit >= width && align % width === 0 && p.unit === width) {
    const first = shifted(at, Math.log2(width));
    const base = lanes > width ? named(w, first, `${fieldOf(b)}_i`) : first;
    return Array.from({ length: piecesOf(lanes) }, (_, k) => plain(get(w, p, plus(base, k).text)));
  }
  const base = named(w, at, 'i');
  return Array.from({ length: piecesOf(lanes) }, (_, k) =>
    plain(
      `${typeText(to, width)}(${Array.from({ length: width }, (__, j) => readWord(w, b, plus(base, 4 * k + j), to).text).join(', ')})`,
    ),
  );
}

/** The words that hold `lanes` elements from element `at`, which start at bit 0 of the first. */
export function wordsAt(w: Writer, b: Buffer, at: Text, lanes: number, align: number): Text[] {
  const { bits } = dtypes[b.dtype];
  const { odd, twos } = factors(bits);
  const total = lanes * bits;
  const count = Math.ceil(total / 32);
  const wish = `${fieldOf(b)}_raw`;
  if ((align * bits) % 32 === 0)
    return readWords(w, b, scaled(shifted(at, 5 - twos), odd), count, wish);
  const i = named(w, at, 'i');
  const word = named(w, wordIndex(i, bits), 'word');
  const bit = named(w, bitIndex(i, bits), 'bit');
  const fits = total <= 32 && (align * bits) % total === 0 && 32 % total === 0;
  const raw = readWords(w, b, word, fits ? 1 : count + 1, wish);
  return Array.from({ length: count }, (_, k) => {
    const low = `${raw[k]!.text} >> ${bit.text}`;
    const text = fits ? low : `(${low}) | ${upper(raw[k + 1]!, bit).text}`;
    return named(w, { text, level: loose }, wish);
  });
}

/** Elements taken out of words, as values in pieces. */
function unpack(w: Writer, d: DType, words: readonly Text[], lanes: number): Text[] {
  const { bits } = dtypes[d];
  const width = widthOf(lanes);
  return Array.from({ length: piecesOf(lanes) }, (_, c) => {
    const from = c * 4 * bits;
    const k = from >> 5;
    const bit = from & 31;
    if (bits === 16) return sixteen(w, d, words.slice(k, k + 2), width);
    const piece =
      bit + width * bits > 32
        ? plain(`((${words[k]!.text} >> ${bit}u) | (${words[k + 1]!.text} << ${32 - bit}u))`)
        : words[k]!;
    const start = bit + width * bits > 32 ? 0 : bit;
    if (bits === 8 && start === 0 && width === 4 && w.module.features.has('packed'))
      return plain(isSigned(d) ? `unpack4xI8(${piece.text})` : `vec4i(unpack4xU8(${piece.text}))`);
    const steps = (f: (j: number) => number): string =>
      `vec${width}u(${Array.from({ length: width }, (__, j) => `${f(j)}u`).join(', ')})`;
    if (!isSigned(d)) {
      const mask = 2 ** bits - 1;
      const shift = steps((j) => start + j * bits);
      return plain(
        `vec${width}i((vec${width}u(${piece.text}) >> ${shift}) & vec${width}u(${mask}u))`,
      );
    }
    const left = steps((j) => 32 - start - (j + 1) * bits);
    return {
      text: `(vec${width}i(vec${width}u(${piece.text})) << ${left}) >> vec${width}u(${32 - bits}u)`,
      level: loose,
    };
  });
}

/** The two f16 of a word as f32: by the type itself, where the device has it. */
const halves = (w: Writer, word: string): string =>
  w.module.features.has('f16') ? `vec2f(bitcast<vec2h>(${word}))` : `unpack2x16float(${word})`;

function sixteen(w: Writer, d: DType, words: readonly Text[], width: number): Text {
  const half = width / 2;
  const each = words.slice(0, Math.max(1, half)).map((x) => x.text);
  if (d === 'f16') {
    const parts = each.map((x) => halves(w, x));
    return plain(width === 4 ? `vec4f(${parts.join(', ')})` : parts[0]!);
  }
  const type = `vec${width}i`;
  if (isSigned(d)) {
    const spread = each.flatMap((x) => [`i32(${x} << 16u)`, `i32(${x})`]).join(', ');
    return { text: `${type}(${spread}) >> vec${width}u(16u)`, level: loose };
  }
  return plain(
    `${type}(${each.flatMap((x) => [`i32(${x} & 0xffffu)`, `i32(${x} >> 16u)`]).join(', ')})`,
  );
}

// ---- stores ----

/** Puts bits into a word that others may be writing to as well. */
function putBits(w: Writer, p: Place, at: Text, bit: Text, bits: number, value: string): void {
  const i: Text = p.offset ? { text: `${p.offset} + ${inside(at, add)}`, level: add } : at;
  const place = named(w, i, 'word');
  const mask = `(${2 ** bits - 1}u << ${bit.text})`;
  const moved = `(${value} << ${bit.text})`;
  if (p.atomic) {
    w.line(change(w, p, 'atomicAnd', place.text, `~${mask}`));
    w.line(change(w, p, 'atomicOr', place.text, moved));
  } else {
    const kept = `(${get(w, p, place.text)} & ~${mask})`;
    w.line(put(w, p, place.text, `${kept} | ${moved}`));
  }
}

function writeWord(w: Writer, b: Buffer, at: Text, value: string, from: Word): void {
  const p = w.place(b);
  const i: Text = p.offset ? { text: `${p.offset} + ${inside(at, add)}`, level: add } : at;
  const raw = asWord(value, from, p.word);
  w.line(p.atomic ? change(w, p, 'atomicStore', i.text, raw) : put(w, p, i.text, raw));
}

/** Low bits of a value as u32. */
const code = (value: Text, bits: number): string =>
  `(bitcast<u32>(${value.text}) & ${2 ** bits - 1}u)`;

export function storeElement(w: Writer, b: Buffer, at: Text, value: Text): void {
  const { bits } = dtypes[b.dtype];
  if (bits === 32) return writeWord(w, b, at, value.text, scalarOf(b.dtype) as Word);
  const p = w.place(b);
  const i = named(w, at, 'i');
  const v = named(w, plain(code(value, bits)), 'code');
  const { odd } = factors(bits);
  const bit = named(w, bitIndex(i, bits), 'bit');
  const word = wordIndex(i, bits);
  if (odd === 1) return putBits(w, p, word, bit, bits, v.text);
  const first = named(w, word, 'word');
  putBits(w, p, first, bit, bits, v.text);
  w.block(`if (${bit.text} + ${bits}u > 32u)`, () => {
    const done = named(w, plain(`(32u - ${bit.text})`), 'done');
    putSpill(w, p, plus(first, 1), done, bits, v.text);
  });
}

/** The upper bits of an element, from bit `done` of it, into the low end of a word. */
function putSpill(w: Writer, p: Place, at: Text, done: Text, bits: number, value: string): void {
  const mask = `(${2 ** bits - 1}u >> ${done.text})`;
  const i: Text = p.offset ? { text: `${p.offset} + ${inside(at, add)}`, level: add } : at;
  const place = named(w, i, 'word');
  if (p.atomic) {
    w.line(change(w, p, 'atomicAnd', place.text, `~${mask}`));
    w.line(change(w, p, 'atomicOr', place.text, `${value} >> ${done.text}`));
  } else {
    const kept = `(${get(w, p, place.text)} & ~${mask})`;
    w.line(put(w, p, place.text, `${kept} | (${value} >> ${done.text})`));
  }
}

/** Pieces of a vector into elements `at`, ... */
export function storeVector(
  w: Writer,
  b: Buffer,
  at: Text,
  lanes: number,
  align: number,
  pieces: readonly Text[],
): void {
  const { bits } = dtypes[b.dtype];
  if (bits < 32) return storePacked(w, b, at, lanes, align, pieces);
  const p = w.place(b);
  const from = scalarOf(b.dtype) as Word;
  const width = widthOf(lanes);
  if (p.unit === width && width > 1) {
    const first = shifted(at, Math.log2(width));
    const base = lanes > width ? named(w, first, `${fieldOf(b)}_i`) : first;
    pieces.forEach((x, k) => w.line(put(w, p, plus(base, k).text, x.text)));
    return;
  }
  if (p.unit === 2 && width === 4) {
    // Declared for loads that are narrower than this store.
    const base = named(w, shifted(at, 1), 'i');
    pieces.forEach((x, k) => {
      const v = named(w, x, 'v');
      w.line(put(w, p, plus(base, 2 * k).text, `${v.text}.xy`));
      w.line(put(w, p, plus(base, 2 * k + 1).text, `${v.text}.zw`));
    });
    return;
  }
  if (p.unit > 1) throw fault(`a store into ${b.name} does not fit its declaration`);
  const base = named(w, at, 'i');
  pieces.forEach((x, k) => {
    const v = named(w, x, 'v');
    for (let j = 0; j < width; j += 1)
      writeWord(w, b, plus(base, 4 * k + j), `${v.text}.${letters[j]}`, from);
  });
}

function storePacked(
  w: Writer,
  b: Buffer,
  at: Text,
  lanes: number,
  align: number,
  pieces: readonly Text[],
): void {
  const { bits } = dtypes[b.dtype];
  const p = w.place(b);
  const words = packed(w, bits, lanes, pieces);
  const total = lanes * bits;
  const { odd, twos } = factors(bits);
  if ((align * bits) % 32 === 0 && total % 32 === 0) {
    const first = scaled(shifted(at, 5 - twos), odd);
    if (p.unit > 1 && words.length % p.unit === 0) {
      const base = named(w, shifted(first, Math.log2(p.unit)), 'i');
      for (let k = 0; k < words.length / p.unit; k += 1) {
        const part = words.slice(k * p.unit, (k + 1) * p.unit).map((x) => x.text);
        w.line(put(w, p, plus(base, k).text, `vec${p.unit}u(${part.join(', ')})`));
      }
      return;
    }
    if (p.unit > 1) throw fault(`a store into ${b.name} does not fit its declaration`);
    const base = named(w, first, `${fieldOf(b)}_i`);
    words.forEach((x, k) => writeWord(w, b, plus(base, k), x.text, 'u32'));
    return;
  }
  // Byte by byte: a byte belongs to one thread, a word may not.
  const i = named(w, at, 'i');
  const byte = named(
    w,
    odd === 1
      ? twos >= 3
        ? { text: `${inside(i, atom)} << ${twos - 3}u`, level: loose }
        : shifted(i, 3 - twos)
      : scaled(shifted(i, 3 - twos), odd),
    'byte',
  );
  const values = words.map((x) => named(w, x, 'bits'));
  for (let k = 0; k < total / 8; k += 1) {
    const here = named(w, plus(byte, k), 'byte');
    const bit = plain(`(u32(${here.text} & 3) << 3u)`);
    const value = `((${values[k >> 2]!.text} >> ${(k & 3) * 8}u) & 255u)`;
    putBits(w, p, shifted(here, 2), bit, 8, value);
  }
}

/** Pieces of values as words of `bits`-wide elements, the first at bit 0. */
function packed(w: Writer, bits: number, lanes: number, pieces: readonly Text[]): Text[] {
  const width = widthOf(lanes);
  const count = Math.ceil((lanes * bits) / 32);
  const words: string[][] = Array.from({ length: count }, () => []);
  const mask = 2 ** bits - 1;
  pieces.forEach((x, c) => {
    if (bits === 16) {
      const v = named(w, plain(`vec${width}u(${x.text}) & vec${width}u(65535u)`), 'codes');
      for (let j = 0; j < width; j += 2)
        words[2 * c + j / 2]!.push(
          `${v.text}.${letters[j]}`,
          `(${v.text}.${letters[j + 1]} << 16u)`,
        );
      return;
    }
    const weights = Array.from({ length: width }, (_, j) => `${2 ** (j * bits)}u`).join(', ');
    const from = c * 4 * bits;
    const k = from >> 5;
    const bit = from & 31;
    const straddles = bit + width * bits > 32;
    const sum = plain(
      `dot(vec${width}u(${x.text}) & vec${width}u(${mask}u), vec${width}u(${weights}))`,
    );
    const v = straddles ? named(w, sum, 'codes') : sum;
    words[k]!.push(bit === 0 ? v.text : `(${v.text} << ${bit}u)`);
    if (straddles) words[k + 1]!.push(`(${v.text} >> ${32 - bit}u)`);
  });
  return words.map((parts) =>
    parts.length === 1 ? plain(parts[0]!) : { text: parts.map((x) => x).join(' | '), level: loose },
  );
}
