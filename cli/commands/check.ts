// quern check: compiles every kernel and format of a file, so that whatever is wrong is said at once.
import { resolve } from 'node:path';
import pc from 'picocolors';
import { compile, describe } from '../../compiler/index.ts';
import { CompileError, type Diagnostic } from '../../compiler/diagnostics/diagnostic.ts';

/** Stands in for a kernel's format parameters: any format must do. */
const sample = { file: 'quern/formats', name: 'q8_0' };

export async function check(path: string): Promise<void> {
  const file = path === 'quern/formats' ? path : resolve(path);
  const found = new Map<string, Diagnostic>();
  const collect = async (work: () => unknown): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (e) {
      if (!(e instanceof CompileError)) throw e;
      // The same fault shows in every kernel that meets it: once is enough.
      for (const d of e.diagnostics)
        found.set(`${d.code}:${d.span.file}:${d.span.start}:${d.message}`, d);
      return false;
    }
  };
  let passed = 0;
  const skipped: string[] = [];
  await collect(async () => {
    for (const e of describe(file).exports) {
      if (e.kind === 'format') {
        const parts = [
          'encode',
          ...(e.takesWeights ? ['encodeWeighted'] : []),
          'decode',
          ...(e.hasLayout ? ['pack', 'unpack'] : []),
        ];
        for (const part of parts)
          passed += Number(
            await collect(() => compile({ file, name: `${e.name}.${part}`, target: 'wasm' })),
          );
      } else if (e.kind === 'kernel') {
        // A constant without a default has no value here: the kernel is checked where it is called.
        if (e.params.some((p) => p.kind === 'static' && !p.optional)) skipped.push(e.name);
        else {
          const formats = e.formatParams.map(() => sample);
          passed += Number(
            await collect(() => compile({ file, name: e.name, formats, target: 'wasm' })),
          );
        }
      }
    }
  });
  if (found.size) throw new CompileError([...found.values()]);
  console.log(
    `${pc.green('ok')}: ${passed} ${passed === 1 ? 'function compiles' : 'functions compile'}`,
  );
  if (skipped.length)
    console.log(
      `not compiled, for their constants have no default: ${skipped.join(', ')} (try quern explain '${path}#${skipped[0]}(...)')`,
    );
}
