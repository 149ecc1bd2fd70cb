// All encoders of ggml's types but those that look for points of a grid.
import { testEncoders } from './golden.ts';
import { all, lattices } from './reference/ggml.ts';

testEncoders(
  'ggml encoders',
  Object.keys(all).filter((name) => !lattices.includes(name)),
);
