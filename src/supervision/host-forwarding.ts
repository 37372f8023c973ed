/**
 * Whether this host's kernel forwards what an adapter receives. Packet sockets get copies: the kernel sees each frame to the interface's
 * own MAC address, too, and of an IP datagram for a VM, which is none of its own addresses, a router tells the sender that there is a better
 * way (ICMP redirect) or none (unreachable), as a router has to (RFC 1812 §5.2.7).
 */
import { readFileSync } from 'node:fs';
import type { AdapterPlan } from '../base/plan.ts';

/** What is wrong and what to do, or ''. With a MAC address of its own an adapter's frames are none of the kernel's business. */
export function forwardedByHost({ name, interface: device, mac }: AdapterPlan): string {
  const forwarding = read(`/proc/sys/net/ipv4/conf/${device}/forwarding`);
  if (forwarding === '' || forwarding === '0') return '';
  if (mac !== null && mac !== read(`/sys/class/net/${device}/address`)) return '';
  return (
    `adapter ${name}: this host is a router on ${device}, for what the LAN sends to VMs, too, and answers it with ICMP redirects and errors: ` +
    `give the adapter a MAC address of its own (adapters.${name}.mac), or turn that off (sysctl -w net/ipv4/conf/${device}/forwarding=0)`
  );
}

/** '' when there is no such interface now. */
function read(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return '';
  }
}
