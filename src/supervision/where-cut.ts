/**
 * Where UDP datagrams may be coupled without anybody beyond the interface seeing it (`coupleUdp: auto`).
 */
import { existsSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';

/**
 * true: always, as the interface is a network card: the card cuts what is coupled, or the kernel does before it. 'auto': while the kernel does; what a
 * virtual interface takes as it is goes on as it is, from one end of a veth to the other for instance. false: never before Linux 6.2, whose packet sockets
 * refuse long UDP frames.
 */
export function whereCut(
  interfaceName: string,
  kernel = release(),
  folder = '/sys/class/net',
): boolean | 'auto' {
  const [major, minor] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  if (!(major > 6 || (major === 6 && minor >= 2))) return false;
  return existsSync(join(folder, interfaceName, 'device')) || 'auto';
}
