/** `basewire run --config FILE`: the daemon, in the foreground. */
import type { BasePlan } from '../plan.ts';
import { environmentWarnings } from '../config/environment.ts';
import { loadConfig } from '../config/load.ts';
import { buildPlan } from '../config/plan.ts';
import { type Config, DEFAULT_ADMIN_SOCKET } from '../config/schema.ts';
import { groupId, primaryGroupId, userId } from '../config/users.ts';
import { CommandError } from '../exit-codes.ts';
import { Log } from '../log.ts';
import type { makeSocketFolders } from '../socket-file.ts';
import { serve } from './serve.ts';
import type { Account } from '../supervision/privileges.ts';

/** Runs the daemon until it ends; the exit code. Throws a ConfigError, or a CommandError when it could not start or go on. */
export async function run(options: { config: string }): Promise<number> {
  const { file, config, warnings } = loadConfig(options.config);
  const plan = buildPlan(config);
  // Only now the addon: a wrong configuration is named even where it isn't built.
  const { Daemon } = await import('../daemon.ts');
  const { native } = await import('../native.ts');
  const { dropPrivileges } = await import('../supervision/privileges.ts');
  const socketFiles = await import('../socket-file.ts');
  const admin = {
    socket: config.admin?.socket ?? DEFAULT_ADMIN_SOCKET,
    required: config.admin !== undefined,
  };
  const account = accountOf(config);
  if (account !== null)
    orFailure(() => makeFoldersFor(account, plan, admin, socketFiles.makeSocketFolders));
  // Before the account: the terminal may be one that only who started us may open again.
  const log = new Log(config.log);
  const { packetSockets, warnings: lacking } = orFailure(() =>
    dropPrivileges(plan.adapters.length, account),
  );
  for (const warning of warnings) log.logger.warn({ file }, warning);
  for (const warning of [...environmentWarnings(plan, native), ...lacking])
    log.logger.warn(warning);
  const daemon = new Daemon({
    plan,
    log,
    admin,
    stateFile: config.state?.file ?? null,
    packetSockets,
    exitWithFrontend: false,
  });
  return serve(daemon);
}

/** What is refused here is the host's doing or a slip of the operator's: the sentence is enough. */
function orFailure<T>(action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new CommandError((error as Error).message);
  }
}

/** Whom the configuration wants the daemon to be; the check has seen that they exist. */
function accountOf({ user, group }: Config): Account | null {
  if (user === undefined) return null;
  const gid = group === undefined ? primaryGroupId(user) : groupId(group);
  return { user, uid: userId(user)!, gid: gid! };
}

/** What only root may do for the sockets: folders in places like /run, then owned by the account. */
function makeFoldersFor(
  { uid, gid }: Account,
  plan: BasePlan,
  admin: { socket: string; required: boolean },
  make: typeof makeSocketFolders,
): void {
  if (process.getuid!() !== 0) return;
  const sockets = plan.vms.flatMap((vm) => vm.sockets);
  const made = sockets.filter(({ mode }) => mode === 'server');
  make(made, uid, gid);
  try {
    make([{ path: admin.socket, gid: -1 }], uid, gid);
  } catch (error) {
    // One that nobody asked for the daemon does without, and says why.
    if (admin.required) throw error;
  }
}
