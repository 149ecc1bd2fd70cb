// Linear algebra in the language: import { cholesky, svd } from 'quern/linalg'. Matrices are f32; every algorithm is
// one that keeps its error near the rounding of its input without wider arithmetic (Golub and Van Loan, Matrix
// Computations). docs/linalg.md has the errors measured.
export { cholesky, inverseDamped, inverseSpd, solveSpd, solveTriangular } from './cholesky.ts';
export { eigh } from './eigh.ts';
export { qr } from './qr.ts';
export { powerIteration, randomizedSvd, subspaceIteration } from './subspace.ts';
export { svd } from './svd.ts';
