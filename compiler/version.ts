/** Part of every cache key: change it whenever the same source may compile to different code. */
export const compilerVersion = '0.1.0-2';
