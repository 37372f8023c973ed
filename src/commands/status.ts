/** `basewire status [NAME...] [--json]`: how the running daemon is. */
import { askAdmin } from '../admin/client.ts';
import type { Status } from '../admin/status.ts';
import { loadConfig } from '../config/load.ts';
import { DEFAULT_ADMIN_SOCKET, MAX_SOCKET_PATH_BYTES } from '../config/schema.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { printable } from '../printable.ts';
import { describeStatus } from './describe-status.ts';

export interface StatusOptions {
  json?: boolean;
  config?: string;
  adminSocket?: string;
}

/** Prints it, of these VMs and adapters (none: of all); the exit code. Throws a CommandError when no daemon answers. */
export async function status(names: string[], options: StatusOptions): Promise<number> {
  checkPath(options.adminSocket);
  if (options.json && names.length > 0)
    throw new CommandError(`--json prints all: leave ${names.join(' ')} out`, EXIT.usage);
  const configured = options.config === undefined ? undefined : loadConfig(options.config);
  const socket = options.adminSocket ?? configured?.config.admin?.socket ?? DEFAULT_ADMIN_SOCKET;
  const body = await askAdmin(socket, '/v1/status');
  const text = described(body, socket, names);
  process.stdout.write(options.json ? printableJson(body) : text);
  return EXIT.ok;
}

/** For people; a CommandError where the answer is no status. */
function described(body: string, socket: string, names: string[]): string {
  try {
    return describeStatus(JSON.parse(body) as Status, names);
  } catch (error) {
    if (error instanceof CommandError) throw error;
    throw new CommandError(`${socket} answered no status: is it basewire’s?`, EXIT.unavailable);
  }
}

/** JSON escapes the other control characters by itself. */
function printableJson(body: string): string {
  return body.replace(/[\u007f-\u009f]/g, printable);
}

/** Given one that is empty, Node would ask somebody by TCP. */
function checkPath(path: string | undefined): void {
  if (path === undefined) return;
  if (path === '') throw new CommandError('--admin-socket is empty', EXIT.usage);
  const bytes = Buffer.byteLength(path);
  if (bytes <= MAX_SOCKET_PATH_BYTES) return;
  throw new CommandError(
    `--admin-socket ${path}: is ${bytes} bytes long, a socket’s path holds ${MAX_SOCKET_PATH_BYTES}`,
    EXIT.usage,
  );
}
