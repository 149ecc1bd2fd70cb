// A service that keeps its weights encoded in memory and answers `POST /` with the scores of the vector it is sent.
// Started as `node --import quern/register server.js`, it compiles the kernel file when it is imported.
import { createServer } from 'node:http';
import { init, QuernError } from './score.kernel.ts';

const [classes, width] = [10, 64];
const ops = await init();
const weights = Float32Array.from({ length: classes * width }, (_, i) => Math.sin(i * i));
const w = ops.bytes.encodeSync(weights, [classes, width]);

/** The scores of a list of numbers, or what is wrong with it. */
function answer(text) {
  try {
    const data = Float32Array.from(JSON.parse(text));
    const scores = ops.classifySync({ data, shape: [1, data.length] }, w);
    const list = [...scores.data()];
    scores.dispose();
    return [200, { scores: list }];
  } catch (e) {
    if (e instanceof QuernError || e instanceof SyntaxError) return [400, { error: e.message }];
    throw e;
  }
}

const server = createServer(async (request, response) => {
  let text = '';
  for await (const chunk of request) text += chunk;
  const [status, body] = answer(text);
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
});
server.listen(Number(process.env.PORT ?? 8080), '127.0.0.1', () => {
  console.log(`listening on ${server.address().port}`);
});
