/**
 * What the process is allowed to do, and how it stops being allowed. Opening an adapter needs CAP_NET_RAW, but only to make the
 * sockets: so two packet sockets per configured adapter are made at the start, bound to nothing and without rings, and then the
 * capability goes, before the first socket for guests exists. When a management guest asks, the kept sockets get their rings and
 * their interface.
 *
 * Two ways to be rid of it in every thread:
 * - started as root with `user:`: setgroups, setgid and setuid, which Node does for all threads;
 * - started as another user with the capability (systemd: AmbientCapabilities=): the process executes itself once more without it.
 *   The sockets stay open over that, their numbers in an environment variable.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import type { PacketSockets } from '../adapter/packet-sockets.ts';
import { native } from '../native.ts';

const VARIABLE = 'BASEWIRE_PACKET_SOCKETS';

/** Who the daemon shall be; null: who it is. */
export interface Account {
  /** As the configuration names it: initgroups wants the name. */
  user: string | number;
  uid: number;
  gid: number;
}

/** What there is after `dropPrivileges`. */
export interface Privileges {
  /** By adapter; -1 where none could be made. */
  packetSockets: PacketSockets[];
  /** For the log: what could not be given up, or could not be had. */
  warnings: string[];
}

/**
 * Makes packet sockets for `count` adapters and gives up what is not needed any more. May replace the process by itself, so nothing must
 * have been started before, and of its descriptors only the `inherited` ones stay. Throws when the user can't be changed as asked.
 */
export function dropPrivileges(
  count: number,
  account: Account | null,
  inherited: readonly number[] = [],
): Privileges {
  const handedOver = takeOver(count);
  if (handedOver !== null) {
    native.setDumpable(false);
    return { packetSockets: handedOver, warnings: lacking(handedOver) };
  }
  const packetSockets = Array.from({ length: count }, () => ({
    // In this order: when an interface comes up the kernel hooks sockets in as they were made, the last one first (open-adapter.ts).
    doorbell: packetSocket(),
    rings: packetSocket(),
  }));
  if (account !== null) become(account);
  const warnings = lacking(packetSockets);
  if (process.getuid!() === 0) return { packetSockets, warnings };
  if (isCapable()) {
    const descriptors = packetSockets.flatMap(({ rings, doorbell }) => [rings, doorbell]);
    warnings.push(executeAgain(descriptors, inherited));
  }
  // Its own user's other processes, QEMU perhaps, can't trace it.
  native.setDumpable(false);
  return { packetSockets, warnings };
}

function packetSocket(): number {
  try {
    return native.packetSocket();
  } catch {
    return -1; // EPERM, most likely
  }
}

/** Said at the start, when somebody looks: it would come out when a management guest asks, which may be much later. */
function lacking(packetSockets: readonly PacketSockets[]): string[] {
  if (packetSockets.every(({ rings, doorbell }) => rings >= 0 && doorbell >= 0)) return [];
  return [
    'adapters can’t be opened: no packet sockets could be made, which needs CAP_NET_RAW at the start',
  ];
}

/** Whether there is a capability to give up; whoever can't know says yes. */
function isCapable(): boolean {
  try {
    return !/^CapPrm:\s*0+$/m.test(readFileSync('/proc/self/status', 'latin1'));
  } catch {
    return true;
  }
}

/** Changes user and groups, for good. */
function become({ user, uid, gid }: Account): void {
  if (process.getuid!() === uid && process.getgid!() === gid) return;
  if (process.getuid!() !== 0) {
    throw new Error(`user: only root can become user ${user}: leave it out, or start as root`);
  }
  if (typeof user === 'string' && !/^\d+$/.test(user)) initgroups(user, gid);
  else process.setgroups!([gid]);
  process.setgid!(gid);
  process.setuid!(uid);
}

/** Node has it, its types don't. */
function initgroups(user: string, gid: number): void {
  (process as unknown as { initgroups(user: string, gid: number): void }).initgroups(user, gid);
}

/** The sockets that this process was executed with, or null. */
function takeOver(count: number): PacketSockets[] | null {
  const text = process.env[VARIABLE];
  if (text === undefined) return null;
  delete process.env[VARIABLE];
  const descriptors = text.split(',').map(Number);
  const socket = (index: number) => {
    const fd = descriptors[index] ?? -1;
    return isSocket(fd) ? fd : -1;
  };
  return Array.from({ length: count }, (_, adapter) => ({
    rings: socket(adapter * 2),
    doorbell: socket(adapter * 2 + 1),
  }));
}

function isSocket(fd: number): boolean {
  try {
    return fd > 2 && readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:');
  } catch {
    return false;
  }
}

/** Returns only when that fails, with the reason. */
function executeAgain(descriptors: readonly number[], inherited: readonly number[]): string {
  const words = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const variables = { ...process.env, [VARIABLE]: descriptors.join(',') };
  try {
    return native.executeWithout(
      process.execPath,
      words,
      Object.entries(variables).map(([name, value]) => `${name}=${value}`),
      Int32Array.from([...descriptors, ...inherited]),
    );
  } catch (error) {
    return `capabilities are kept: ${(error as Error).message}`;
  }
}
