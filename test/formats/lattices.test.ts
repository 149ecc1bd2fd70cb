// ggml's iq1, iq2 and iq3 types: the encoders, which look for points of a grid.
import { testEncoders } from './golden.ts';
import { lattices } from './reference/ggml.ts';

testEncoders('ggml lattice encoders', lattices);
