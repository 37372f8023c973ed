/** EtherTypes as this machine reads them out of a frame (`halves[(at + 12) >> 1]`), and what becomes of those nobody here routes. */
import { swap16 } from '../wire/bytes.ts';
import * as ethernet from '../wire/ethernet.ts';
import { drop } from './verdict.ts';

export const IPV4 = swap16(ethernet.TYPE_IPV4);
export const ARP = swap16(ethernet.TYPE_ARP);
const IPV6 = swap16(ethernet.TYPE_IPV6);
export const VLAN = swap16(ethernet.TYPE_VLAN);
const SERVICE_VLAN = swap16(ethernet.TYPE_SERVICE_VLAN);

const NOT_IP = drop('notIp');
const IPV6_DROP = drop('ipv6');
const VLAN_DROP = drop('vlan');

/** The verdict for a frame that carries neither IPv4 nor ARP. */
export function notRouted(etherType: number): number {
  if (etherType === IPV6) return IPV6_DROP;
  return etherType === VLAN || etherType === SERVICE_VLAN ? VLAN_DROP : NOT_IP;
}
