/**
 * `basewire qemu-args VM --config FILE`: the QEMU arguments for a VM. Arguments go to stdout, remarks to stderr, so that
 * `qemu-system-x86_64 … $(basewire qemu-args web --config FILE)` works as it stands.
 *
 * What differs between versions: `reconnect=SECONDS` became `reconnect-ms=` in 9.2 and is gone in 10.2; before 8.0 QEMU crashes
 * when a guest uses MSI-X on a vhost-user device without KVM (mended by commit 1680542862), so it gets `vectors=0`.
 */
import { spawnSync } from 'node:child_process';
import { proposedVmMac } from '../config/derived-mac.ts';
import { loadConfig } from '../config/load.ts';
import { DEFAULT_MTU } from '../config/plan.ts';
import type { Config } from '../config/schema.ts';
import { didYouMean, known } from '../config/suggest.ts';
import { CommandError, EXIT } from '../exit-codes.ts';
import { MAX_PAIRS } from '../plan.ts';
import { printable } from '../printable.ts';

export interface QemuArgsOptions {
  config: string;
  qemuVersion?: string;
  kvm?: boolean;
  memory: string;
  socket: string;
  queues: string;
}

export interface QemuVersion {
  major: number;
  minor: number;
}

/** Milliseconds between attempts to reconnect: the longest a restart of the base adds to an outage. */
const RECONNECT_MS = 100;

/** Prints the arguments; the exit code. Throws a ConfigError, or a CommandError that names the option at fault. */
export function qemuArgs(vm: string, options: QemuArgsOptions): number {
  const { file, config } = loadConfig(options.config);
  if (!Object.hasOwn(config.vms, vm)) {
    const names = Object.keys(config.vms);
    const hint = didYouMean(vm, names) || known(names);
    throw new CommandError(`${file} has no VM "${vm}"${hint}`, EXIT.usage);
  }
  const remarks: string[] = [];
  const version = chooseVersion(options.qemuVersion, remarks);
  const kvm = options.kvm ?? false;
  if (options.kvm === undefined && !atLeast(version, 8, 0)) {
    remarks.push(
      'vectors=0 keeps this QEMU alive without KVM; with KVM say --kvm, it is faster then',
    );
  }
  const lines = qemuArguments(config, vm, {
    version,
    kvm,
    memory: memorySize(options.memory),
    socket: wholeNumber('--socket', options.socket, 1, 8) - 1,
    queues: wholeNumber('--queues', options.queues, 1, MAX_PAIRS),
  });
  remarks.push(...guestSettings(config, vm));
  const terminal = process.stdout.isTTY;
  if (!terminal && lines.some((line) => /[\s*?[\\]/.test(behindOption(line)))) {
    remarks.push(
      'a path holds characters that $(...) splits or expands: paste the arguments as they are printed on a terminal, where they are quoted',
    );
  }
  const text = terminal ? forTerminal(lines) : `${lines.join('\n')}\n`;
  process.stderr.write(remarks.map((remark) => `# ${printable(remark)}\n`).join(''));
  process.stdout.write(text);
  return EXIT.ok;
}

/** Lines to paste into a shell: each value quoted where it needs to be. */
export function forTerminal(lines: string[]): string {
  const quoted = lines.map((line) => {
    const value = behindOption(line);
    return line.slice(0, line.length - value.length) + shellWord(value);
  });
  return `${quoted.join(' \\\n')}\n`;
}

/** What stands behind the option. */
function behindOption(line: string): string {
  return line.slice(line.indexOf(' ') + 1);
}

function shellWord(value: string): string {
  if (printable(value) !== value)
    throw new CommandError(`${value}: has control characters: choose another path for the socket`);
  if (/^[\w@%+=:,./-]+$/.test(value)) return value;
  return `'${value.replaceAll("'", "'\\''")}'`;
}

/** One option with its value per line. */
export function qemuArguments(
  config: Config,
  name: string,
  use: { version: QemuVersion; kvm: boolean; memory: string; socket: number; queues: number },
): string[] {
  const vm = config.vms[name]!;
  const networkName = vm.network ?? Object.keys(config.networks)[0]!;
  const network = config.networks[networkName]!;
  const sockets = vm.sockets ?? [vm.socket!];
  const socket = sockets[use.socket];
  if (socket === undefined) {
    const has = sockets.length === 1 ? 'one socket' : `${sockets.length} sockets`;
    throw new CommandError(`--socket ${use.socket + 1}: VM ${name} has ${has} only`, EXIT.usage);
  }
  const path = typeof socket === 'string' ? socket : socket.path;
  const listens = typeof socket === 'string' || socket.mode === 'server';
  const id = `basewire-${name}`;

  const chardev = ['socket', `id=${id}`, `path=${escaped(path)}`];
  if (!listens) chardev.push('server=on', 'wait=off');
  else chardev.push(atLeast(use.version, 9, 2) ? `reconnect-ms=${RECONNECT_MS}` : 'reconnect=1');

  const device = [
    'virtio-net-pci',
    `netdev=${id}-net`,
    `mac=${vm.mac ?? proposedVmMac(networkName, name)}`,
  ];
  if (network.mtu !== undefined && network.mtu !== DEFAULT_MTU)
    device.push(`host_mtu=${network.mtu}`);
  if (network.packed) device.push('packed=on');
  if (use.queues > 1) device.push('mq=on');
  if (!use.kvm && !atLeast(use.version, 8, 0)) device.push('vectors=0');
  else if (use.queues > 1) device.push(`vectors=${2 * use.queues + 2}`);

  const netdev = ['vhost-user', `id=${id}-net`, `chardev=${id}`];
  if (use.queues > 1) netdev.push(`queues=${use.queues}`);

  return [
    `-m ${use.memory}`,
    `-object memory-backend-memfd,id=basewire-memory,size=${use.memory},share=on`,
    '-machine memory-backend=basewire-memory',
    `-chardev ${chardev.join(',')}`,
    `-netdev ${netdev.join(',')}`,
    `-device ${device.join(',')}`,
  ];
}

/** How the guest sets up its interface, for people. */
function guestSettings(config: Config, name: string): string[] {
  const vm = config.vms[name]!;
  const network = config.networks[vm.network ?? Object.keys(config.networks)[0]!]!;
  const length = network.subnet.split('/')[1];
  const mtu = network.mtu === undefined ? '' : ` mtu ${network.mtu}`;
  return [
    'in the guest:',
    ...vm.addresses.map((address) => `  ip address add ${address}/${length} dev eth0`),
    `  ip link set eth0${mtu} up`,
    `  ip route add default via ${network.address}`,
  ];
}

/** QEMU doubles commas inside a value. */
function escaped(value: string): string {
  return value.replaceAll(',', ',,');
}

function atLeast(version: QemuVersion, major: number, minor: number): boolean {
  return version.major > major || (version.major === major && version.minor >= minor);
}

function parseVersion(text: string): QemuVersion | null {
  const match = /(?:^|version )(\d{1,3})\.(\d{1,3})(?:\.|\s|$)/.exec(text);
  return match ? { major: Number(match[1]), minor: Number(match[2]) } : null;
}

function chooseVersion(given: string | undefined, remarks: string[]): QemuVersion {
  if (given !== undefined) {
    const version = /^\d/.test(given) ? parseVersion(given) : null;
    if (!version)
      throw new CommandError(`--qemu-version ${given}: must be like 7.2 or 10.0.3`, EXIT.usage);
    return version;
  }
  const result = spawnSync('qemu-system-x86_64', ['--version'], {
    encoding: 'utf8',
    timeout: 5000,
  });
  const version = result.status === 0 ? parseVersion(result.stdout) : null;
  if (version) {
    remarks.push(
      `for the installed QEMU ${version.major}.${version.minor} (say --qemu-version X.Y for another)`,
    );
    return version;
  }
  remarks.push(
    'qemu-system-x86_64 is not installed here: assumes QEMU 10.0 (say --qemu-version X.Y for another)',
  );
  return { major: 10, minor: 0 };
}

function memorySize(text: string): string {
  if (/^[1-9]\d{0,11}[MG]$/.test(text)) return text;
  throw new CommandError(`--memory ${text}: must be a size like 512M or 4G`, EXIT.usage);
}

function wholeNumber(option: string, text: string, from: number, to: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= from && value <= to) return value;
  throw new CommandError(
    `${option} ${text}: must be a whole number from ${from} to ${to}`,
    EXIT.usage,
  );
}
