// Which targets a package may carry, and in which variants. A variant is one compilation of a kernel and what it
// asks of the host; the loader of the package takes the first one whose probe passes (module/load.ts), so the
// fastest comes first. A new target or variant is a row here and, for wasm, a probe there.
import { refuse } from './errors.ts';

export interface VariantRow {
  readonly variant: string;
  /** Before the extension of the file: `linear.relaxed.wasm`. */
  readonly suffix: string;
}
interface TargetRow {
  readonly built: boolean;
  readonly variants: readonly VariantRow[];
}

const targets: { readonly [name: string]: TargetRow } = {
  wasm: { built: true, variants: [{ variant: 'plain', suffix: '' }] },
  wgsl: { built: false, variants: [] },
  // Plain text with launchers in C, which no JavaScript loads: see cuda.ts.
  cuda: { built: true, variants: [] },
  gpujs: { built: false, variants: [] },
};

export type Target = 'wasm' | 'cuda';
export const variantsOf = (target: Target): readonly VariantRow[] => targets[target]!.variants;

/** Checks names of targets, as `--target wasm,wgsl` gives them. */
export function targetsNamed(names: readonly string[]): readonly Target[] {
  const built = Object.keys(targets).filter((t) => targets[t]!.built);
  for (const target of names) {
    if (!Object.hasOwn(targets, target))
      refuse('Q7002', { target, known: Object.keys(targets).join(', ') });
    if (!targets[target]!.built) refuse('Q7001', { target, ready: built.join(', ') });
  }
  return [...new Set(names)] as Target[];
}
