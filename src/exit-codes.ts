import { printable } from './printable.ts';

/** What the command's exit status means (sysexits.h where it has a word for it). */
export const EXIT = {
  ok: 0,
  /** It could not be done; stderr says why. */
  failure: 1,
  /** The command line is wrong. */
  usage: 2,
  /** The daemon doesn't run (EX_UNAVAILABLE). */
  unavailable: 69,
  /** The configuration is wrong (EX_CONFIG). */
  config: 78,
} as const;

/** An error that ends the command with a message, of one or several lines, and a status; without a stack trace. */
export class CommandError extends Error {
  readonly exitCode: number;

  constructor(message: string | string[], exitCode: number = EXIT.failure) {
    super([message].flat().map(printable).join('\n'));
    this.name = 'CommandError';
    this.exitCode = exitCode;
  }
}
