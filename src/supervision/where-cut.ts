/**
 * Where UDP datagrams may be coupled without anybody beyond the interface seeing it (`coupleUdp: auto`).
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { release } from 'node:os';
import { basename, join } from 'node:path';

/** What a hypervisor's cards hang on: such a card hands long frames on to the hypervisor. */
const PARAVIRTUAL = ['virtio', 'xen', 'vmbus'];

/**
 * true: always, as the interface is a network card: the card cuts what is coupled, or the kernel does before it. 'auto': while the kernel does; what a
 * virtual interface takes as it is goes on as it is, from one end of a veth to the other for instance. false: never before Linux 6.2, whose packet sockets
 * refuse long UDP frames. `mac`: the interface's.
 */
export function whereCut(
  interfaceName: string,
  mac: string,
  kernel = release(),
  folder = '/sys/class/net',
): boolean | 'auto' {
  const [major, minor] = kernel.split('.').map((part) => Number.parseInt(part, 10));
  if (!(major > 6 || (major === 6 && minor >= 2))) return false;
  return isCard(join(folder, interfaceName), mac) || 'auto';
}

/** sysfs may be another network namespace's: then an interface of that name has another MAC address. */
function isCard(path: string, mac: string): boolean {
  try {
    if (readFileSync(join(path, 'address'), 'latin1').trim() !== mac) return false;
    return !PARAVIRTUAL.includes(basename(readlinkSync(join(path, 'device/subsystem'))));
  } catch {
    return false; // no device, or none of that name
  }
}
