/**
 * Imported before everything else: a daemon takes a while to load. Meanwhile a SIGHUP or SIGUSR2 would end it, and a SIGUSR1 have Node open
 * its debugger's port, for as long as it lives.
 */
import { ignoreSignals } from './signals.ts';

const words = process.argv.slice(2);
if (words[0] === 'run' || words.some((word) => /^--(socket-path|fd)(=|$)/.test(word)))
  ignoreSignals('SIGHUP', 'SIGUSR1', 'SIGUSR2');
