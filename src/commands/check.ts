/** `basewire check --config FILE`: what is wrong with a configuration, or what it would do. Creates nothing. */
import type { BasePlan, SocketPlan } from '../plan.ts';
import { environmentWarnings, stateFileWarning } from '../config/environment.ts';
import { forwardedByHost } from '../supervision/host-forwarding.ts';
import { loadConfig } from '../config/load.ts';
import { buildPlan } from '../config/plan.ts';
import { type Config, DEFAULT_ADMIN_SOCKET } from '../config/schema.ts';
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
        vm.sockets.map(describeSocket).join(' and '),
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
      `Admin interface: ${printable(config.admin?.socket ?? DEFAULT_ADMIN_SOCKET)}. Log: ${config.log.level} and above, ${config.log.format}.\n`,
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

function describeSocket(socket: SocketPlan): string {
  if (socket.mode === 'client') return `${socket.path} (QEMU listens)`;
  return `${socket.path} (${socket.fileMode.toString(8).padStart(4, '0')})`;
}
