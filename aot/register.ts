// `node --import quern/register app.js`: imports of kernel files give compiled kernels. The compiler runs in the
// thread of the hooks.
import { register } from 'node:module';

register(new URL(`./register-hooks${import.meta.url.slice(-3)}`, import.meta.url));
