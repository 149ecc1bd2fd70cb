#!/usr/bin/env node
// The `quern` command: the built command line where there is one, else the sources through tsx.
import { existsSync } from 'node:fs';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`quern needs Node 20.19 or later; this is Node ${process.versions.node}.`);
  process.exit(1);
}
const built = new URL('../dist/cli/main.js', import.meta.url);
let commandLine;
if (existsSync(built)) {
  commandLine = await import(built.href);
} else {
  const { register } = await import('tsx/esm/api');
  register();
  commandLine = await import('./main.ts');
}
process.exitCode = await commandLine.main(process.argv.slice(2));
