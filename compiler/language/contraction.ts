// Contraction. Its overloads have operands of fixed rank before the general one, so that tsc names the dims
// of the result where it knows them, and still compares the contracted dims where it knows only those.
import { builtin } from './builtin.ts';
import type { Dim, DType, Known, Promoted, Tensor } from './types.ts';

// biome-ignore lint/suspicious/noExplicitAny: what tsc does not know fits everywhere
type Any = any;

/**
 * Matrix product [..., M, K] x [..., K, N] = [..., M, N]; leading axes broadcast. Sums in f32, or for two
 * integer operands in i32 (wrapping). A weight stored [N, K] is transposed. `matmul(x, transpose(decode(w)))`
 */
export const matmul: {
  <
    D extends DType = Any,
    E extends DType = Any,
    M extends Dim = Any,
    K extends Dim = Any,
    N extends Dim = Any,
  >(
    a: Tensor<D, [M, K]>,
    b: Tensor<E, [NoInfer<K>, N]>,
  ): Tensor<Promoted<D, E>, Known<[M, N]>>;
  <
    D extends DType = Any,
    E extends DType = Any,
    B extends Dim = Any,
    M extends Dim = Any,
    K extends Dim = Any,
    N extends Dim = Any,
  >(
    a: Tensor<D, [B, M, K]>,
    b: Tensor<E, [NoInfer<K>, N]>,
  ): Tensor<Promoted<D, E>, Known<[B, M, N]>>;
  <D extends DType = Any, E extends DType = Any, K extends Dim = Any>(
    a: Tensor<D, readonly [...Dim[], K]>,
    b: Tensor<E, readonly [...Dim[], NoInfer<K>, Dim]>,
  ): Tensor<Promoted<D, E>>;
} = builtin('matmul');
