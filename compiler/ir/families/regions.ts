// Ops with regions: maps, loops, branches and fused kernels. Their types are those that the regions yield.
import type { Region, TensorType } from '../ir.ts';
import type { RegionName } from '../ops.ts';
import { type Family, t } from './rules.ts';

const yieldsOf = (r: Region): TensorType[] => r.yields.map((v) => v.type);

export const regions: Family<RegionName> = {
  map: {
    kind: 'region',
    cost: 1000,
    type: (_, a, [r]) => yieldsOf(r!).map((y) => t(y.dtype, [...a.dims, ...y.shape])),
  },
  for: { kind: 'region', cost: 1000, type: (_, _a, [r]) => yieldsOf(r!) },
  while: { kind: 'region', cost: 1000, type: (_, _a, [, body]) => yieldsOf(body!) },
  if: { kind: 'region', cost: 1000, type: (_, _a, [yes]) => yieldsOf(yes!) },
  kernel: { kind: 'region', cost: 1000, type: (_, _a, [r]) => yieldsOf(r!) },
};
