// placeholder, replaced by the diagnostics helper
export function nearest(_name: string, _known: readonly string[]): string | undefined { return undefined; }
