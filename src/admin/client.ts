/** Asks a running daemon over its admin socket. */
import { request } from 'node:http';
import { CommandError, EXIT } from '../exit-codes.ts';

const DEADLINE_MS = 5000;
const MAX_BYTES = 64 * 1024 * 1024;

/** The body of a 200 answer; a CommandError that says what to do about everything else. */
export function askAdmin(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (why: string) => reject(new CommandError(why, EXIT.unavailable));
    const call = request({ socketPath, path, timeout: DEADLINE_MS, agent: false }, (response) => {
      const parts: Buffer[] = [];
      let length = 0;
      response.on('data', (part: Buffer) => {
        length += part.length;
        if (length > MAX_BYTES) call.destroy(new Error('the answer is too long'));
        else parts.push(part);
      });
      response.on('error', (error) => fail(`${socketPath}: ${error.message}`));
      response.on('end', () => {
        const body = Buffer.concat(parts).toString();
        if (response.statusCode === 200) resolve(body);
        else fail(`${socketPath} answered ${response.statusCode} to ${path}: is it basewire’s?`);
      });
    });
    call.on('timeout', () =>
      call.destroy(new Error(`no answer within ${DEADLINE_MS / 1000} seconds`)),
    );
    call.on('error', (error: NodeJS.ErrnoException) => fail(explain(socketPath, error)));
    call.end();
  });
}

function explain(path: string, error: NodeJS.ErrnoException): string {
  switch (error.code) {
    case 'ENOENT':
      return `basewire does not run, or its socket was removed: there is no admin socket ${path} (start it with "basewire run --config FILE", or name another with --config or --admin-socket)`;
    case 'ECONNREFUSED':
      return `basewire does not run: nobody accepts connections on ${path}`;
    case 'EACCES':
    case 'EPERM':
      return `not allowed to connect to ${path}: ask as root or as the user that runs basewire`;
    case 'ECONNRESET':
    case 'EPIPE':
      return `${path} closed the connection without an answer: is it basewire’s, or are too many asking at once?`;
    default:
      return `${path}: ${error.message}`;
  }
}
