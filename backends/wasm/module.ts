// A module: one function a kernel, and `run`, which calls them in order. All take the addresses of the buffers
// and the values of the dims.
import type { Program } from '../../compiler/loops/loops.ts';
import { type Binaryen, baseFeatures, type Module } from './binaryen.ts';
import { fault } from './expressions.ts';
import type { Pool } from './constants.ts';
import { Frame, paramCount } from './frame.ts';
import type { Relaxed } from './relaxed.ts';
import { body } from './statements.ts';

/** `program` must be expanded already. Constants that are loaded go to the pool, before the functions are built by `build`. */
export function recordModule(
  b: Binaryen,
  program: Program,
  simd: Relaxed,
  pool: Pool,
): { build(): Module } {
  const m = new b.Module();
  m.setFeatures(baseFeatures(b, simd.relaxed));
  // A maximum of -1 is none: binaryen's default would refuse memories that declare no maximum.
  m.setMemory(0, -1, null, [], false, false, '0');
  m.addMemoryImport('0', 'env', 'memory', false);
  const kernels = program.kernels.map((k, i) => {
    const frame = new Frame(b, m, program, simd);
    return { name: `${i}_${k.name}`, frame, code: frame.placed(body(frame, k.body), pool) };
  });
  return {
    build() {
      const count = paramCount(program, pool);
      const params = b.createType(new Array<number>(count).fill(b.i32));
      for (const { name, frame, code } of kernels)
        m.addFunction(name, params, b.none, frame.localTypes, frame.built(code, pool));
      const args = (): number[] => Array.from({ length: count }, (_, i) => m.local.get(i, b.i32));
      const calls = kernels.map(({ name }) => m.call(name, args(), b.none));
      m.addFunction('run', params, b.none, [], m.block(null, calls));
      m.addFunctionExport('run', 'run');
      return m;
    },
  };
}

/** The bytes of a valid module. */
export function encodeModule(m: Module): Uint8Array {
  if (!m.validate()) throw fault('binaryen finds the generated module invalid');
  return m.emitBinary();
}
