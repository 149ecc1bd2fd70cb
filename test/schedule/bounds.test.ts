// What is known of the operand of a power: from differences to an extreme, from magnitudes and from arithmetic, and never from
// more than the ops say. The evaluator of loop IR holds what is claimed against numbers.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { compiledText } from './harness.ts';

const test = suite('bounds of powers');

/** The bounds that a power in a kernel has: its text, or none. */
async function claimed(body: string, shape = '[M, D]', params = ''): Promise<string | undefined> {
  const text = `export function kernel<M extends Dim, D extends Dim>(x: Tensor<f32, ${shape}>${params}) {
    return ${body};
  }`;
  const schedule = (await compiledText(text)).stage('schedule');
  assert.match(schedule, /exp2?\(/);
  return /bounded\(.*, (-?[\d.a-z]+, -?[\d.a-z]+)\)/.exec(schedule)?.[1];
}

const rows = '{ keepdims: true }';
const table: readonly (readonly [body: string, bounds: string | undefined])[] = [
  [`exp(x - amax(x, 1, ${rows}))`, '-inf, 0.0'],
  [`exp(x - amax(x, [0, 1], ${rows}))`, '-inf, 0.0'],
  [`exp2(x - amax(x, 0, ${rows}))`, '-inf, 0.0'],
  [`exp(x - reshape(amax(x, 1), [dim(x, 0), 1]))`, '-inf, 0.0'],
  [`exp(amin(x, 1, ${rows}) - x)`, '-inf, 0.0'],
  [`exp(x - amin(x, 1, ${rows}))`, '0.0, inf'],
  [`exp(amax(x, 1, ${rows}) - x)`, '0.0, inf'],
  ['exp(-abs(x))', '-inf, 0.0'],
  ['exp(x * x * -0.5)', '-inf, 0.0'],
  ['exp2(-sqrt(abs(x)))', '-inf, 0.0'],
  ['exp(clamp(x, -3, 5) * 2 + 1)', '-5.0, 11.0'],
  ['exp(sin(x) - 4)', '-5.0, -3.0'],
  // Nothing is known of these.
  ['exp(x)', undefined],
  [`exp(x - amax(abs(x), 1, ${rows}))`, undefined],
  [`exp(x * 2 - amax(x, 1, ${rows}))`, undefined],
  [`exp(x - amax(x * 2, 1, ${rows}))`, undefined],
  [`exp(x + amax(x, 1, ${rows}))`, undefined],
  [`exp(x - sum(x, 1, ${rows}))`, undefined],
  ['exp(x * x - x)', undefined],
];
for (const [body, bounds] of table)
  test(`${body} is a power of ${bounds ? `what is from ${bounds}` : 'anything'}`, async () => {
    assert.is(await claimed(body), bounds);
  });

test('of a square matrix, extremes down the columns that are put along the rows say nothing', async () => {
  const across = 'exp(x - reshape(amax(x, 0), [dim(x, 0), 1]))';
  assert.is(await claimed(across, '[M, M]'), undefined);
  assert.is(await claimed('exp(x - amax(x, 0))', '[M, M]'), undefined);
});

test('extremes of another tensor say nothing', async () => {
  assert.is(
    await claimed(`exp(x - amax(y, 1, ${rows}))`, '[M, D]', ', y: Tensor<f32, [M, D]>'),
    undefined,
  );
});

test.run();
