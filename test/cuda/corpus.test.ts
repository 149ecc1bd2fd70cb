// Every kernel that the conformance cases, the formats, the layers and the published systems give goes through nvcc without
// a warning, and contractions keep everything in registers. By default a share of them; QUERN_NVCC=all takes them all, for
// sm_80 and sm_90: run the file itself, as the test driver has a limit for a file.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { skip } from '../support/skip.ts';
import { corpus, families } from './corpus.ts';
import { hasCompiler } from './host.ts';
import { usageOf } from './nvcc.ts';

const architectures = ['sm_80', 'sm_90'] as const;
const all = process.env.QUERN_NVCC === 'all';
/** Of each family every so many programs, in turn for the one and the other architecture; each family at least for one. */
const step = 10;
const isWanted = (arch: number) => (_: string, i: number) =>
  all || (i % step === 0 && (i / step) % 2 === arch) || (i === step / 2 && arch === 1);

const title = 'CUDA: all texts and nvcc';
const test = suite(title);
if (!hasCompiler('nvcc')) skip(title, 'no nvcc at hand');
else {
  architectures.forEach((arch, a) =>
    test(`texts of every family compile clean for ${arch}, contractions do not spill`, async () => {
      const { texts, refused } = await corpus(arch, isWanted(a));
      assert.equal(refused, [], 'programs that the compiler refuses');
      const usage = await usageOf(texts, arch);
      const wanted = Object.entries(families).filter(([f, p]) =>
        p.some((_, i) => isWanted(a)(f, i)),
      );
      assert.equal([...usage.keys()].sort(), wanted.map(([f]) => f).sort());
      for (const [family, { kernels, registers, shared, spilled, spilling }] of usage)
        console.log(
          `${arch}, ${family}: ${kernels} kernels, at most ${registers} registers and ${shared} bytes shared; ` +
            `${spilling.length} spill ${spilled} bytes`,
        );
    }),
  );
  for (const [a, arch] of architectures.entries()) {
    const left = Object.entries(families).flatMap(([family, programs]) => {
      const n = programs.filter((_, i) => !isWanted(a)(family, i)).length;
      return n ? [`${family} ${n}`] : [];
    });
    if (left.length) skip(`${title}, ${arch}`, `QUERN_NVCC=all also runs ${left.join(', ')}`);
  }
}
test.run();
