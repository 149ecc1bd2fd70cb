// Ahead of time: kernel files to packages that any project can import.
export { cudaFile } from './cuda.ts';
export { type BuildCode, BuildError } from './errors.ts';
export { flavorsOf } from './flavors.ts';
export { type BuiltPackage, buildPackage, writePackage } from './package.ts';
export { type BuildRequest, type ExportRequest, packageName } from './plan.ts';
export { extraVariants, type Target, targetsNamed } from './targets.ts';
