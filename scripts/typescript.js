// Lets Node 20 run the project's TypeScript: `node --import ./scripts/typescript.js file.ts`. Newer versions of
// Node strip types themselves. Only .ts files are touched, so large dependencies load at full speed.
import { register } from 'node:module';

if (!process.features.typescript) register('./typescript-hooks.js', import.meta.url);
