// The kernel file is compiled when Vite meets the import; edit it while `npm run dev` runs.
import { init } from './wave.kernel.ts';

const ops = await init();
const wave = Float32Array.from({ length: 256 }, (_, i) => Math.sin(i / 12) * Math.cos(i / 40));
const { y, error } = ops.tripSync({ data: wave, shape: [1, 256] });

const context = document.querySelector('canvas').getContext('2d');
for (const [values, color] of [
  [wave, '#bbb'],
  [y.data(), '#06c'],
]) {
  context.strokeStyle = color;
  context.beginPath();
  values.forEach((v, i) => {
    context.lineTo(i * 2, 80 - v * 70);
  });
  context.stroke();
}
document.querySelector('output').textContent = `3 bits: error ${error.data()[0].toFixed(4)}`;
y.dispose();
error.dispose();
document.title = 'done';
