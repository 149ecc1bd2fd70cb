// Whether this host computes relaxed SIMD as the compiler expects. Having the instructions is not enough: an engine is
// known that compiles the dot product and doubles its result. So numbers decide.
import type { WasmApi } from '../platform.ts';

/**
 * A module whose `ok()` is 1 if `i32x4.relaxed_dot_i8x16_i7x16_add_s` is exact for bytes from -128 to 127 with 7-bit
 * ones, `i8x16.relaxed_swizzle` finds the bytes for indices below 16, and `f32x4.relaxed_madd` multiplies and adds.
 */
const probe =
  'AGFzbQEAAAABBQFgAAF/AwIBAAcGAQJvawAACuUBAeIBAP0MgICAgP////9/f39/Af4D/P0Mf39/fwEBAQF/f39/BQYHCP0M' +
  'AQAAAAIAAAADAAAABAAAAP2TAv0MAQL///7///8H/AAA8v////03/aMB/QwAAQIDBAUGBwgJCgsMDQ4P/QwPDg0MCwoJCAcGBQQD' +
  'AgEA/YAC/QwPDg0MCwoJCAcGBQQDAgEA/Tf9owFx/QwAAMA/AAAAwAAAgD4AAABB/QwAAABAAABAQAAAgEAAAAC//QwAAIA/AACA' +
  'PwAAgL8AAIBA/YUC/QwAAIBAAACgwAAAAAAAAAAA/UH9owFxCw==';

let known: boolean | undefined;

export function computesRelaxed(api: WasmApi): boolean {
  known ??= runProbe(api);
  return known;
}

function runProbe(api: WasmApi): boolean {
  try {
    const bytes = Uint8Array.from(atob(probe), (c) => c.charCodeAt(0));
    const { exports } = new api.Instance(new api.Module(bytes));
    return (exports.ok as () => number)() === 1;
  } catch {
    // The engine does not know the instructions.
    return false;
  }
}
