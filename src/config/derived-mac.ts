/**
 * MAC addresses nobody configured: derived from names, so that they are the same after every restart and on every host.
 * Guests keep the base's MAC in their ARP caches; a new one would cut them off until the entries expire.
 */
import { createHash } from 'node:crypto';
import { macText } from '../wire/mac.ts';

function digest(...parts: string[]): Buffer {
  return createHash('sha256').update(parts.join('\0')).digest();
}

/** The base's MAC on a network: 02 (locally administered, unicast), then 40 bits of a hash. */
export function baseMac(network: string, subnet: string): string {
  const bytes = digest('basewire base', network, subnet).subarray(0, 6);
  bytes[0] = 0x02;
  return macText(bytes);
}

/**
 * A MAC that `qemu-args` proposes for a VM that has none in the configuration, in QEMU's own range (52:54:00).
 * Without it every QEMU would use the same default address.
 */
export function proposedVmMac(network: string, vm: string): string {
  const bytes = digest('basewire vm', network, vm).subarray(0, 6);
  bytes.set([0x52, 0x54, 0x00]);
  return macText(bytes);
}
