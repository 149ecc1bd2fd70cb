import quern from 'quern/plugin';

export default {
  base: './',
  plugins: [quern.vite()],
  build: { target: 'es2022' },
};
