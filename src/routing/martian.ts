/** Addresses that must not be on a wire. */
import {
  BROADCAST_KEY,
  isHost,
  isLinkLocal,
  isLoopback,
  isReserved,
  isThisNetwork,
} from '../wire/ipv4-address.ts';

/** RFC 1812 §5.3.7, RFC 6890; multicast and limited broadcast, which are fit for destinations, are not asked here. */
export function isMartian(key: number): boolean {
  return (
    isThisNetwork(key) ||
    isLoopback(key) ||
    isLinkLocal(key) ||
    (isReserved(key) && key !== BROADCAST_KEY)
  );
}

/** True for an address that a host beyond a router can have: what a VM may have behind itself, however wide its prefix is. */
export function isRoutable(key: number): boolean {
  return isHost(key) && !isLinkLocal(key);
}
