// quern check: compiles every kernel and format of a file, so that whatever is wrong is said at once.
import { resolve } from 'node:path';
import pc from 'picocolors';
import { everythingOf, Findings } from '../../compiler/check.ts';
import { CompileError } from '../../compiler/diagnostics/diagnostic.ts';
import { compile } from '../../compiler/index.ts';

export async function check(path: string): Promise<void> {
  const { requests, needConstants, helpers } = everythingOf(
    path === 'quern/formats' ? path : resolve(path),
  );
  const findings = new Findings();
  let passed = 0;
  for (const request of requests)
    try {
      await compile({ ...request, target: 'wasm' });
      passed += 1;
    } catch (e) {
      findings.add(e);
    }
  if (findings.all.length) throw new CompileError(findings.all);
  if (passed || !(needConstants.length || helpers.length))
    console.log(
      `${pc.green('ok')}: ${passed} ${passed === 1 ? 'function compiles' : 'functions compile'}`,
    );
  if (needConstants.length)
    console.log(
      `not compiled, for their constants have no default: ${needConstants.join(', ')} (try quern explain '${path}#${needConstants[0]}(...)')`,
    );
  if (helpers.length)
    console.log(
      `not compiled, for their types leave dtypes or dims to the kernels that call them: ${helpers.join(', ')}`,
    );
}
