// Which targets a package may carry, and in which variants. A variant is one compilation of a kernel and what it
// asks of the host; the loader of the package takes the first one whose probe passes (module/load.ts), so the
// fastest comes first and the one that the others fall back to is last. A new target or variant is a row here and, where
// JavaScript loads it, a probe there.
import type { Limits } from '../compiler/limits.ts';
import { refuse } from './errors.ts';

export interface VariantRow {
  readonly variant: string;
  /** What a package must be asked for to have it; the others are always there. */
  readonly extra?: ExtraVariant;
  /** Before the extension of the file: `linear.relaxed.wasm`. */
  readonly suffix: string;
  /** What it is compiled for beyond the target's own limits. */
  readonly limits?: Partial<Limits>;
}
interface TargetRow {
  /** Compilations that JavaScript loads. */
  readonly variants: readonly VariantRow[];
}

const targets: { readonly [T in Target]: TargetRow } = {
  wasm: {
    variants: [
      {
        ...{ variant: 'unsigned', suffix: '.unsigned', extra: 'relaxed' },
        limits: { relaxed: true, unsignedDot: true },
      },
      { variant: 'relaxed', suffix: '.relaxed', extra: 'relaxed', limits: { relaxed: true } },
      { variant: 'plain', suffix: '' },
    ],
  },
  wgsl: {
    variants: [
      { variant: 'packed', suffix: '.packed', limits: { features: ['packed'] } },
      { variant: 'plain', suffix: '', limits: { features: [] } },
    ],
  },
  // Plain text with launchers in C, which no JavaScript loads: see cuda.ts.
  cuda: { variants: [] },
  // Functions of JavaScript: see gpujs.ts.
  gpujs: { variants: [] },
};

export type Target = 'wasm' | 'wgsl' | 'cuda' | 'gpujs';
/** Those that JavaScript loads. */
export type ScriptTarget = Exclude<Target, 'cuda'>;
export const isTarget = (name: string): name is Target => Object.hasOwn(targets, name);

/** What a wasm package may have beside plain code for one thread. */
export const extraVariants = ['relaxed', 'threads'] as const;
export type ExtraVariant = (typeof extraVariants)[number];

/** The variants of a target; all end with the plain one. */
export const variantsOf = (target: Target, extra: readonly ExtraVariant[]): readonly VariantRow[] =>
  targets[target].variants.filter((v) => !v.extra || extra.includes(v.extra));

/** Checks names of targets, as `--target wasm,wgsl` gives them. */
export function targetsNamed(names: readonly string[]): readonly Target[] {
  for (const target of names)
    if (!isTarget(target)) refuse('Q7002', { target, known: Object.keys(targets).join(', ') });
  return [...new Set(names)].filter(isTarget);
}
