/** `basewire check --config FILE`: what is wrong with a configuration, or what it would do. Creates nothing. */
import type { BasePlan } from '../plan.ts';
import { environmentWarnings, stateFileWarning } from '../config/environment.ts';
import { forwardedByHost } from '../supervision/host-forwarding.ts';
import { loadConfig } from '../config/load.ts';
import { buildPlan } from '../config/plan.ts';
import { type Config, DEFAULT_ADMIN_SOCKET, type SocketConfig } from '../config/schema.ts';
import { EXIT } from '../exit-codes.ts';
import type { Native } from '../native.ts';
import { printable } from '../printable.ts';
import { table } from './table.ts';

/** Prints what the configuration would do; the exit code. Throws a ConfigError with all that is wrong. */
export async function check(options: { config: string }): Promise<number> {
  const { file, config, warnings } = loadConfig(options.config);
  const plan = buildPlan(config);
  process.stdout.write(`${printable(file)}: ok\n\n${describePlan(plan, config)}`);
  const { native, missing } = await addon();
  const forwarded =
    native === null
      ? []
      : plan.adapters.map((each) => forwardedByHost(each, native)).filter((each) => each !== '');
  const environment = [
    ...environmentWarnings(plan, native),
    ...stateFileWarning(config.state?.file),
  ];
  for (const warning of [...warnings, ...missing, ...environment, ...forwarded]) {
    process.stderr.write(`${printable(`${file}: warning: ${warning}`)}\n`);
  }
  return EXIT.ok;
}

/** A configuration can be checked without it; what the daemon would say is a warning here. */
async function addon(): Promise<{ native: Native | null; missing: string[] }> {
  try {
    return { native: (await import('../native.ts')).native, missing: [] };
  } catch (error) {
    return { native: null, missing: [(error as Error).message] };
  }
}

function describePlan(plan: BasePlan, config: Config): string {
  const network = (index: number) => plan.networks[index]!.name;
  const parts = [
    table(
      ['NETWORK', 'SUBNET', 'BASE ADDRESS', 'BASE MAC', 'MTU', 'RINGS'],
      plan.networks.map((each) => [
        each.name,
        `${each.subnet}/${each.prefix}`,
        each.address,
        each.mac,
        String(each.mtu),
        each.packed ? 'split or packed' : 'split',
      ]),
    ),
    table(
      ['VM', 'NETWORK', 'ADDRESSES', 'MAC', 'MANAGEMENT', 'SOCKET'],
      plan.vms.map((vm) => [
        vm.name,
        network(vm.network),
        [...vm.addresses, ...vm.prefixes].join(' '),
        vm.mac ?? 'learned',
        vm.management ? 'yes' : 'no',
        vm.sockets
          .map((socket, index) => describeSocket(socket.fileMode, formOf(config, vm.name, index)))
          .join(' and '),
      ]),
    ),
  ];
  if (plan.adapters.length > 0) {
    parts.push(
      table(
        [
          'ADAPTER',
          'INTERFACE',
          'NETWORK',
          'CONTROLLERS',
          'LEASE',
          'WITHOUT CONTROLLER',
          'NEXT HOP',
        ],
        plan.adapters.map((adapter) => [
          adapter.name,
          adapter.interface,
          network(adapter.network),
          adapter.controllers.map((vm) => plan.vms[vm]!.name).join(', then '),
          `${adapter.leaseSeconds} s`,
          adapter.onControllerLoss === 'keep' ? 'stays open' : 'is closed',
          adapter.nextHop ?? 'none: the subnet only',
        ]),
      ),
    );
  } else parts.push('No adapters: the VMs reach each other only.\n');
  const { poll, spinMicroseconds, restMicroseconds, burst, workers, cores } = plan.datapath;
  parts.push(
    `Data path: ${poll} polling, spins ${spinMicroseconds} µs, rests ${restMicroseconds} µs, up to ${burst} datagrams per port and turn.\n` +
      `Turn workers: ${workers}${workers === 1 ? ', which serves all VMs' : `: ${describeWorkers(plan)}`}.${cores.length === 0 ? '' : ` On core${cores.length === 1 ? '' : 's'} ${cores.join(', ')}.`}\n` +
      `Admin interface: ${printable(config.admin?.socket ?? DEFAULT_ADMIN_SOCKET)}. Log: ${config.log.level} and above, ${config.log.format}.\n` +
      `${describeAccount(config)} ${config.state === undefined ? 'No state is kept over a restart.' : `State over a restart: ${printable(config.state.file)}.`}\n`,
  );
  return parts.join('\n');
}

/** Who serves whom. */
function describeWorkers(plan: BasePlan): string {
  return Array.from({ length: plan.datapath.workers }, (_, worker) => {
    const names = plan.vms.filter((vm) => vm.worker === worker).map(({ name }) => name);
    if (worker === 0 && plan.adapters.length > 0) names.push('all adapters');
    return `worker ${worker} serves ${names.length > 0 ? names.join(', ') : 'nobody'}`;
  }).join('; ');
}

/** Whom the daemon becomes. */
function describeAccount({ user, group }: Config): string {
  if (user === undefined) return 'User: whoever starts it.';
  return `User: ${user}, group ${group ?? 'of its own'}.`;
}

/** A socket as the configuration has it: by names where it names somebody. */
function formOf(config: Config, vm: string, index: number): SocketConfig {
  const { socket, sockets } = config.vms[vm]!;
  return (sockets ?? [socket!])[index]!;
}

function describeSocket(fileMode: number, form: SocketConfig): string {
  const socket: Exclude<SocketConfig, string> =
    typeof form === 'string' ? { path: form, mode: 'server' } : form;
  const { path, mode, owner, group, allowUids } = socket;
  const about = [mode === 'client' ? 'QEMU listens' : fileMode.toString(8).padStart(4, '0')];
  if (owner !== undefined) about.push(`owner ${owner}`);
  if (group !== undefined) about.push(`group ${group}`);
  if (allowUids !== undefined)
    about.push(`for ${['root', 'the daemon’s user', ...allowUids].join(', ')} only`);
  return `${path} (${about.join(', ')})`;
}
