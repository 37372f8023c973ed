/** Both formats of virtqueues, for tests that must hold with either: `describe.each(FORMATS)('... $format', ({ packed }) => ...)`. */
import { BASE_IP, BASE_MAC, type DaemonConfig } from './daemon.ts';
import { THREE_VMS } from './traffic.ts';

export const FORMATS = [
  { format: 'split rings', packed: false },
  { format: 'packed rings', packed: true },
] as const;

/** The default network, offering packed rings besides split ones. */
export const BOTH_FORMATS: DaemonConfig = {
  networks: {
    lan: { subnet: '10.77.0.0/24', address: BASE_IP, mac: BASE_MAC, packed: true },
  },
  vms: THREE_VMS,
};
