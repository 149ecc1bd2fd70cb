// Tables for the terminal: no frames, numbers to the right.
import Table from 'cli-table3';
import pc from 'picocolors';

const none = '';
const bare = {
  top: none,
  'top-mid': none,
  'top-left': none,
  'top-right': none,
  bottom: none,
  'bottom-mid': none,
  'bottom-left': none,
  'bottom-right': none,
  left: none,
  'left-mid': none,
  mid: none,
  'mid-mid': none,
  right: none,
  'right-mid': none,
  middle: '  ',
};

/** `align` has one letter a column: l or r. */
export function table(
  heads: readonly string[],
  align: string,
  rows: readonly (readonly string[])[],
): string {
  const t = new Table({
    head: heads.map((h) => pc.bold(h)),
    colAligns: [...align].map((a) => (a === 'r' ? 'right' : 'left')),
    chars: bare,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  t.push(...rows.map((r) => [...r]));
  return t.toString();
}

export const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(2);

/** Three significant digits; very small or large ones with an exponent. */
export function significant(x: number): string {
  if (x === 0) return '0';
  return Math.abs(x) >= 1e-4 && Math.abs(x) < 1e5
    ? String(Number(x.toPrecision(3)))
    : x.toExponential(2);
}
