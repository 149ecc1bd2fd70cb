// What a target offers, as a value that fusion, scheduling and legalisation are given.
export interface Limits {
  readonly target: string;
  /** Width of a native vector register in bits. */
  readonly vectorBits: number;
  /** Vector registers that a kernel may keep live without spilling. */
  readonly vectorRegisters: number;
  /** Bytes of scratch that stay in the nearest cache (or workgroup memory). */
  readonly scratchBytes: number;
  /** Most storage buffers that a kernel may bind. */
  readonly maxBuffers: number;
  /** wasm: code may use relaxed SIMD, which the host has been found to compute right. */
  readonly relaxed?: boolean;
  /** wasm: the 7-bit operand of the relaxed dot product may be any unsigned byte, which the host has been found to take. */
  readonly unsignedDot?: boolean;
  /** A GPU: threads of a warp (subgroup) and of a group. Such targets have schedules of their own. */
  readonly gpu?: {
    readonly warp: number;
    readonly threads: number;
    /** Bytes of a group's memory that a tile of a contraction may take; absent where there are no tiles. */
    readonly tileBytes?: number;
    /** Groups that keep the device busy: contractions of fewer tiles are split along k. Absent where that is not worth it. */
    readonly busyGroups?: number;
    /** A warp multiplies matrices of small integers and of f16, and copies pass registers by: `product` and `copy` of loop IR. */
    readonly products?: boolean;
    /** A thread computes one element of one tensor and has no memory of its own, as in a pixel shader. */
    readonly single?: boolean;
  };
  /**
   * wgsl: what is larger than a binding may be is bound as several: so many bytes each, a multiple of 256. `of`: how large the
   * buffers are, by their index in the manifest, in sixteenths of that; those that are not named have room in one of them
   * together.
   */
  readonly windows?: {
    readonly bytes: number;
    readonly of: { readonly [buffer: number]: number };
  };
  /** Parts of the target's language that not all devices have, by the names that the backend gives them. */
  readonly features?: readonly string[];
}
