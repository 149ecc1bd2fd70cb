// Who runs which statements of a program, where workers wait, and which buffers each has to itself.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Segment, planThreads } from '../../backends/wasm/threads-plan.ts';
import { privateBuffers } from '../../compiler/loops/parallel.ts';
import { parseProgram } from '../../compiler/loops/parser.ts';
import { sharedWork } from '../../compiler/loops/work.ts';

const test = suite('the plan of a program for threads');

const buffers = `
  buffer x: f32[N] param
  buffer y: f32[N] result
  buffer t: f32[N] temp
  buffer s: f32[8] temp private`;
const program = (...kernels: string[]) =>
  parseProgram(
    `program "p" (N) {${buffers}\n${kernels.map((k, i) => `kernel "k${i}" by "rows" {\n${k}\n}`).join('\n')}\n}\n`,
  );

const text = (list: readonly Segment[]): string =>
  list
    .map((s) => {
      if (s.kind === 'split') return `${s.wait ? 'wait+' : ''}split${s.counter}`;
      if (s.kind === 'branch') return `if(${text(s.then)} | ${text(s.else)})`;
      return s.kind === 'barrier' ? 'barrier' : `${s.kind}:${s.list.length}`;
    })
    .join(' ');
const plan = (...kernels: string[]): string[] | undefined =>
  planThreads(program(...kernels))?.kernels.map(text);

const copy = (to: string, from: string): string =>
  `for i in 0..N step 1 parallel {\n${to}[i] = ${from}[i]\n}`;
const serial = (to: string, from: string): string => copy(to, from).replace(' parallel', '');

test('a program without parallel loops has no plan', () => {
  assert.is(plan(serial('y', 'x')), undefined);
});
test('kernels wait for what others wrote, and only for that', () => {
  assert.equal(plan(copy('t', 'x'), copy('y', 't')), ['split0', 'wait+split1']);
  assert.equal(plan(copy('t', 'x'), copy('y', 'x')), ['split0', 'split1']);
});
test('workers meet before one temporary is written where another may have been', () => {
  const other = buffers.replace('buffer s', 'buffer u: f32[N] temp\n  buffer s');
  const list = (...kernels: string[]): string[] | undefined => {
    const all = kernels.map((k, i) => `kernel "k${i}" by "rows" {\n${k}\n}`).join('\n');
    const p = parseProgram(`program "p" (N) {${other}\n${all}\n}\n`);
    return planThreads(p)?.kernels.map(text);
  };
  // t has been read for the last time when u is written, which is made of x alone.
  const separate = [copy('t', 'x'), copy('y', 't'), copy('u', 'x'), copy('y', 'u')];
  assert.equal(list(...separate), ['split0', 'wait+split1', 'wait+split2', 'wait+split3']);
  // Both are live in the second kernel: they never share memory.
  const together = [copy('t', 'x'), copy('u', 'x'), copy('y', 't'), copy('y', 'u')];
  assert.equal(list(...together), ['split0', 'split1', 'wait+split2', 'wait+split3']);
});
test('serial stores belong to the first worker, which waits for the others before', () => {
  assert.equal(plan(copy('t', 'x'), serial('y', 't'), copy('t', 'x')), [
    'split0',
    'barrier first:1',
    'wait+split1',
  ]);
});
test('what sets variables without a store is run by everyone', () => {
  const sum = `local acc: f32 = 0.0\nfor i in 0..N step 1 {\nacc = acc + x[i]\n}\nlet mean: f32 = acc * 0.5`;
  const use = `for j in 0..N step 1 parallel {\ny[j] = x[j] - mean\n}`;
  assert.equal(plan(`${sum}\n${use}`), ['each:3 split0']);
});
test('a kernel whose stores feed variables of its own runs on the first worker', () => {
  const mixed = `local acc: f32 = 0.0\nfor i in 0..N step 1 {\nacc = acc + x[i]\nt[i] = acc\n}`;
  assert.equal(plan(copy('y', 'x'), `${mixed}\n${copy('y', 't')}`), ['split0', 'barrier first:3']);
});
test('workers take a branch together', () => {
  const branch = `if N >= 3 {\n${copy('y', 'x')}\n} else {\n${serial('y', 'x')}\n}`;
  assert.equal(plan(branch), ['if(split0 | first:1)']);
});
test('scratch within one shared loop is private; what two loops touch is not', () => {
  const own = `for i in 0..N step 1 parallel {\ns[0] = x[i]\ny[i] = s[0]\n}`;
  const p = program(own, copy('t', 'x'), copy('y', 't'));
  const names = p.buffers.filter((b) => privateBuffers(p).has(b.id)).map((b) => b.name);
  assert.equal(names, ['s']);
  assert.equal(plan(own), ['split0']);
});
test('the work of shared loops is estimated in the dims', () => {
  assert.is(`${sharedWork(program(copy('y', 'x'), serial('t', 'x')))}`, '2*N');
});

test.run();
