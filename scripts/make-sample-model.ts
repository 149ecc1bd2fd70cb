// Makes examples/models/verse-4m from the project's trained model: weights as F16, the same config and
// tokenizer, and the held-out King James text of the reference loss. Run once; the output is committed.
//   node --import ./scripts/typescript.js scripts/make-sample-model.ts [folder of verse-4m]
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { floatToBits, roundToFloat } from '../compiler/ir/dtype.ts';
import { readTokenizer } from '../runtime/models/tokenizer.ts';

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: [number, number];
}

const source =
  process.argv[2] ?? fileURLToPath(new URL('../../shared/models/verse-4m', import.meta.url));
const target = fileURLToPath(new URL('../examples/models/verse-4m', import.meta.url));

function weightsAsF16(): Buffer {
  const input = readFileSync(`${source}/model.safetensors`);
  const headerBytes = Number(input.readBigUInt64LE(0));
  const header = JSON.parse(input.toString('utf8', 8, 8 + headerBytes)) as Record<string, Entry>;
  const entries = Object.entries(header).filter(([name]) => name !== '__metadata__');
  const halves = Buffer.alloc((input.length - 8 - headerBytes) / 2);
  for (let i = 0; i < halves.length / 2; i += 1) {
    const value = input.readFloatLE(8 + headerBytes + 4 * i);
    halves.writeUInt16LE(floatToBits('f16', roundToFloat('f16', value)), 2 * i);
  }
  const renamed = entries.map(([name, e]) => [
    name,
    { dtype: 'F16', shape: e.shape, data_offsets: e.data_offsets.map((o) => o / 2) },
  ]);
  const text = JSON.stringify(Object.fromEntries(renamed));
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  return Buffer.concat([length, padded, halves]);
}

/** The documents that fill the windows of the reference loss, a separator line between two. */
async function referenceText(): Promise<string> {
  const read = (name: string) => JSON.parse(readFileSync(`${source}/${name}`, 'utf8'));
  const { windows } = read('reference.json').shared.kjv as { windows: number };
  const tokens = await readTokenizer(source);
  let room = windows * 256 + 1;
  const documents: string[] = [];
  for (const whole of read('val.json').kjv as string[]) {
    const verses = whole.split('\n');
    const size = (count: number) => 1 + tokens.encode(verses.slice(0, count).join('\n')).length;
    // The last document ends with the verse that fills the last window.
    let count = verses.length;
    while (count > 1 && size(count - 1) >= room) count -= 1;
    documents.push(verses.slice(0, count).join('\n'));
    room -= size(count);
    if (room <= 0) return `${documents.join('\n<|endoftext|>\n')}\n`;
  }
  throw new Error('the documents do not fill the windows of the reference');
}

writeFileSync(`${target}/model.safetensors`, weightsAsF16());
writeFileSync(`${target}/kjv.txt`, await referenceText());
for (const name of ['config.json', 'tokenizer.json'])
  writeFileSync(`${target}/${name}`, readFileSync(`${source}/${name}`));
