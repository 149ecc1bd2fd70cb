// Patterns for names of tensors: a star stands for any text, and the whole name must match.

const literal = (s: string): string => s.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const compiled = (pattern: string): RegExp =>
  new RegExp(`^${pattern.split('*').map(literal).join('.*')}$`, 's');

/** Whether one of the patterns matches a name: `layers.*.wq`. */
export function matcher(patterns: readonly string[]): (name: string) => boolean {
  const parts = patterns.map(compiled);
  return (name) => parts.some((r) => r.test(name));
}

/** --only and --skip together; without --only everything is chosen. */
export function chosen(options: {
  readonly only?: readonly string[];
  readonly skip?: readonly string[];
}): (name: string) => boolean {
  const only = options.only ? matcher(options.only) : () => true;
  const skip = matcher(options.skip ?? []);
  return (name) => only(name) && !skip(name);
}
