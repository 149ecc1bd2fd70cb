#!/usr/bin/env node
// The `quern` command: in a checkout the sources, so that a build is never stale; as a package, what was built.
import { existsSync } from 'node:fs';

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`quern needs Node 20.19 or later; this is Node ${process.versions.node}.`);
  process.exit(1);
}
const hooks = new URL('../scripts/typescript.js', import.meta.url);
const isCheckout = existsSync(hooks);
if (isCheckout) await import(hooks.href);
const main = new URL(isCheckout ? './main.ts' : '../dist/cli/main.js', import.meta.url);
const commandLine = await import(main.href);
process.exitCode = await commandLine.main(process.argv.slice(2));
