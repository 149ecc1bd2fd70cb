// Loop IR for GPUs: what the schedules make is well formed, reads back as it is printed, and, run by a team of one,
// gives what the interpreter gives.
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { cudaBackend } from '../../backends/cuda/index.ts';
import { parseProgram } from '../../compiler/loops/parser.ts';
import { printProgram } from '../../compiler/loops/printer.ts';
import { verifyProgram } from '../../compiler/loops/verifier.ts';
import { evaluated, lowered } from '../conformance/lowered.ts';
import { agreeWithInterpreter, samples } from '../conformance/programs.ts';

const test = suite('loop IR for GPUs');

test('random programs are well formed, round-trip as text and agree with the interpreter', () =>
  fc.assert(
    fc.property(samples, (s) => {
      const l = lowered(s.func, cudaBackend.limits);
      const text = printProgram(l.program);
      assert.is(printProgram(parseProgram(text)), text);
      agreeWithInterpreter(s, evaluated(l, s.inputs));
    }),
    { numRuns: 150 },
  ));

const program = (body: string): string =>
  `program "p" (N) {\n  buffer x: f32[N] param\n  buffer y: f32[N] result\n  kernel "k" by "hand" {\n${body}\n  }\n}\n`;
const problems = (body: string): readonly string[] => verifyProgram(parseProgram(program(body)));

test('members meet only where all of them are', () => {
  assert.equal(problems('for i in 0..N step 1 parallel on groups {\nbarrier threads\n}'), []);
  assert.match(
    problems(
      'for i in 0..N step 1 parallel on groups {\nfor j in 0..N step 1 on threads {\nbarrier threads\n}\n}',
    )[0]!,
    /inside of a loop on threads/,
  );
  assert.match(
    problems('for i in 0..N step 1 parallel on grid {\nbarrier threads\n}')[0]!,
    /inside of a loop on grid/,
  );
  assert.match(
    problems(
      'for i in 0..N step 1 parallel on warps {\nfor j in 0..N step 1 on threads {\n}\n}',
    )[0]!,
    /a loop on threads inside of warps/,
  );
});

test.run();
