/**
 * The vhost-user back-end program conventions (QEMU's docs/interop/vhost-user.rst, "Backend program conventions"): one port,
 * one socket, no configuration file. `--print-capabilities` is answered by the command line itself.
 */
import { isAbsolute, resolve } from 'node:path';
import { crossCheck } from '../config/cross-checks.ts';
import { formatPath } from '../config/config-error.ts';
import { formatAddress, formatPrefix, parsePrefix } from '../config/addresses.ts';
import { environmentWarnings } from '../config/environment.ts';
import { buildPlan } from '../config/plan.ts';
import { configSchema, LOG_LEVELS } from '../config/schema.ts';
import type { Path } from '../config/source.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { Log, type LogLevel } from '../log.ts';
import type { SocketKind } from '../native.ts';
import { serve } from './serve.ts';

export interface BackendOptions {
  socketPath?: string;
  fd?: string;
  address: string;
  gateway?: string;
  interface?: string;
  adminSocket?: string;
  logLevel: string;
}

/** The port's name in logs and status. */
const VM = 'vm';
/** Not connected by path: the plan gets the descriptor instead. */
const PLACEHOLDER_PATH = '/dev/null/vhost-user';

/** Runs the daemon for one port until it ends; the exit code. Throws a CommandError that names the option at fault. */
export async function backendProgram(options: BackendOptions): Promise<number> {
  if ((options.socketPath === undefined) === (options.fd === undefined)) {
    throw new CommandError('give either --socket-path=PATH or --fd=N, not both', EXIT.usage);
  }
  const fd = options.fd === undefined ? -1 : descriptor(options.fd);
  const plan = buildPlan(onePortConfig(options));
  const socket = plan.vms[0]!.sockets[0]!;
  if (fd >= 0) Object.assign(socket, { path: '', fd });
  const level = logLevel(options.logLevel);
  const listens = fd >= 0 && (await inherited(fd)).listens;
  const log = new Log({ level, format: 'json' });
  const { Daemon } = await import('../daemon.ts');
  const { native } = await import('../native.ts');
  const { dropPrivileges } = await import('../supervision/privileges.ts');
  const { packetSockets, warnings } = dropPrivileges(
    plan.adapters.length,
    null,
    fd >= 0 ? [fd] : [],
  );
  for (const warning of [...environmentWarnings(plan, native), ...warnings])
    log.logger.warn(warning);
  const daemon = new Daemon({
    plan,
    log,
    admin: {
      socket: options.adminSocket === undefined ? null : resolve(options.adminSocket),
      required: true,
    },
    stateFile: null,
    packetSockets,
    // A connection that we were handed can't come back; a path, or a socket that listens, can be connected to again.
    exitWithFrontend: fd >= 0 && !listens,
  });
  return serve(daemon);
}

/** A configuration with one network and one VM, and an adapter and an admin socket where these are given. */
function onePortConfig(options: BackendOptions) {
  const prefix = parsePrefix(options.address);
  if (!prefix)
    throw new CommandError(`--address ${options.address}: must be like 10.77.0.2/24`, EXIT.usage);
  const address = options.address.split('/')[0]!;
  const subnet = formatPrefix(prefix);
  const path = options.socketPath;
  const admin = options.adminSocket;
  if (path === '') throw new CommandError('--socket-path is empty', EXIT.usage);
  if (admin === '') throw new CommandError('--admin-socket is empty', EXIT.usage);
  if (path !== undefined && admin !== undefined && resolve(path) === resolve(admin))
    throw new CommandError(`--admin-socket ${admin}: is that of --socket-path`, EXIT.usage);
  const raw = {
    networks: { net: { subnet, address: options.gateway ?? formatAddress(prefix.first + 1) } },
    vms: {
      [VM]: {
        socket: path === undefined ? PLACEHOLDER_PATH : isAbsolute(path) ? path : resolve(path),
        addresses: [address],
        management: options.interface !== undefined,
      },
    },
    ...(options.interface !== undefined && {
      adapters: { uplink: { interface: options.interface, controllers: [VM] } },
    }),
    ...(admin !== undefined && { admin: { socket: resolve(admin) } }),
  };
  const wrong: string[] = [];
  const result = configSchema.safeParse(raw);
  for (const issue of result.error?.issues ?? [])
    wrong.push(`${optionOf(issue.path, options)}: ${issue.message}`);
  crossCheck(raw, (where, text) => {
    if (path !== undefined || where[2] !== 'socket')
      wrong.push(`${optionOf(where, options)}: ${text}`);
  });
  if (wrong.length > 0 || !result.success) throw new CommandError(wrong, EXIT.usage);
  return result.data;
}

/** The option behind a key: whoever gave it knows of no configuration. */
function optionOf(where: Path, options: BackendOptions): string {
  const key = formatPath(where);
  if (key.startsWith(`vms.${VM}.socket`)) return `--socket-path ${options.socketPath}`;
  if (key === 'networks.net.address' && options.gateway !== undefined)
    return `--gateway ${options.gateway}`;
  if (key.startsWith('networks.net.') || key.startsWith(`vms.${VM}.addresses`))
    return `--address ${options.address}`;
  if (key === 'adapters.uplink.interface') return `--interface ${options.interface}`;
  return key === 'admin.socket' ? `--admin-socket ${options.adminSocket}` : key;
}

function descriptor(text: string): number {
  const fd = Number(text);
  if (/^\d{1,6}$/.test(text) && fd >= 3) return fd;
  throw new CommandError(
    `--fd ${text}: must be the number of an inherited socket, 3 or more`,
    EXIT.usage,
  );
}

/** What was inherited, if it can be served. */
async function inherited(fd: number): Promise<SocketKind> {
  const { native } = await import('../native.ts');
  let kind: SocketKind;
  try {
    kind = native.socketKind(fd);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'EBADF';
    throw new CommandError(
      `--fd ${fd}: ${missing ? 'no such descriptor was inherited' : 'is no socket'}`,
    );
  }
  const trouble = unfit(kind);
  if (trouble === '') return kind;
  throw new CommandError(
    `--fd ${fd}: is ${trouble}: it must be a Unix stream socket that listens or is connected`,
  );
}

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const FAMILIES: Record<number, string> = { [AF_UNIX]: 'Unix', 2: 'IPv4', 10: 'IPv6' };
const TYPES: Record<number, string> = {
  [SOCK_STREAM]: 'stream',
  2: 'datagram',
  3: 'raw',
  5: 'SOCK_SEQPACKET',
};

/** What a socket is that no front-end can be served on, or ''. */
function unfit({ family, type, listens, connected }: SocketKind): string {
  if (family !== AF_UNIX || type !== SOCK_STREAM) {
    const of = FAMILIES[family] ?? `address family ${family}`;
    return `a socket of another kind (${of}, ${TYPES[type] ?? `type ${type}`})`;
  }
  return listens || connected ? '' : 'a socket that neither listens nor is connected';
}

function logLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((known) => known === text);
  if (!level)
    throw new CommandError(
      `--log-level ${text}: must be one of ${LOG_LEVELS.join(', ')}`,
      EXIT.usage,
    );
  return level;
}
