// What cli/quern.js does, from source.
import { main } from '../../cli/main.ts';

process.exitCode = await main();
