/** `basewire run --config FILE`: the daemon, in the foreground. */
import { environmentWarnings } from '../config/environment.ts';
import { loadConfig } from '../config/load.ts';
import { buildPlan } from '../config/plan.ts';
import { DEFAULT_ADMIN_SOCKET } from '../config/schema.ts';
import { Log } from '../log.ts';

export async function run(options: { config: string }): Promise<number> {
  const { file, config, warnings } = loadConfig(options.config);
  const plan = buildPlan(config);
  // Only now the addon: a wrong configuration is named even where it isn't built.
  const { Daemon } = await import('../daemon.ts');
  const log = new Log(config.log);
  for (const warning of warnings) log.logger.warn({ file }, warning);
  for (const warning of environmentWarnings(plan)) log.logger.warn(warning);
  const daemon = new Daemon({
    plan,
    log,
    admin: {
      socket: config.admin?.socket ?? DEFAULT_ADMIN_SOCKET,
      required: config.admin !== undefined,
    },
    stateFile: config.state?.file ?? null,
    exitWithFrontend: false,
  });
  return daemon.run();
}
