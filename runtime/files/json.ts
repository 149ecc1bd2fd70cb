// JSON from files that nobody vouches for. JSON.parse keeps the last of two equal keys, so a file could show
// one thing to one reader and another thing to the next; here the second key is found.

/** Decodes UTF-8 strictly; throws a TypeError on anything else. */
export const decodeText = (bytes: Uint8Array): string =>
  new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);

/** First key that occurs twice in one object of a text that JSON.parse accepts. */
export function duplicateKey(text: string): string | undefined {
  // One entry an open bracket: the keys of an object, or undefined for an array.
  const open: (Set<string> | undefined)[] = [];
  let key = false;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22 /* " */:
        {
          const start = i++;
          while (text.charCodeAt(i) !== 0x22) i += text.charCodeAt(i) === 0x5c ? 2 : 1;
          const keys = open[open.length - 1];
          if (!key || !keys) break;
          const name = JSON.parse(text.slice(start, i + 1)) as string;
          if (keys.has(name)) return name;
          keys.add(name);
          key = false;
          break;
        }
      case 0x7b /* { */:
        open.push(new Set());
        key = true;
        break;
      case 0x5b /* [ */:
        open.push(undefined);
        key = false;
        break;
      case 0x7d /* } */:
      case 0x5d /* ] */:
        open.pop();
        key = false;
        break;
      case 0x2c /* , */:
        key = open[open.length - 1] !== undefined;
        break;
    }
  }
  return undefined;
}

export const isRecord = (x: unknown): x is { readonly [key: string]: unknown } =>
  typeof x === 'object' && x !== null && !Array.isArray(x);
