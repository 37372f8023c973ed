// QEMU's arguments that attach a guest to a vhost-user socket: shared memory, the socket as a
// client that reconnects, the network device. By hand, for peers other than a base and for
// devices with features switched off; what `basewire qemu-args` prints is tested beside it.

import type { Qemu } from './qemu.ts';

/** How a guest is attached. */
export interface Attachment {
  qemu: Qemu;
  /** The vhost-user socket that the back-end listens on. */
  socket: string;
  mac: string;
  /** Memory in MiB; 256 unless told. */
  memory?: number;
  /** Queue pairs; 1 unless told. */
  queues?: number;
  /** Further properties of the device, such as `csum=off`. */
  device?: readonly string[];
}

/** @returns the arguments, for `VmOptions.attachment` */
export function attachment(options: Attachment): string[] {
  const { qemu, socket, mac, memory = 256, queues = 1, device = [] } = options;
  const [major, minor] = qemu.version;
  // `reconnect` (seconds) gave way to `reconnect-ms` in 9.2.
  const milliseconds = major > 9 || (major === 9 && minor >= 2);
  const reconnect = milliseconds ? 'reconnect-ms=200' : 'reconnect=1';
  const properties = [`mac=${mac}`, ...device];
  if (queues > 1) properties.push('mq=on');
  // QEMU before 8.0 dies when a vhost-user device uses MSI-X without KVM.
  if (major < 8) properties.push('vectors=0');
  else if (queues > 1) properties.push(`vectors=${2 * queues + 2}`);
  return [
    ...['-m', `${memory}`, '-machine', 'pc,memory-backend=ram'],
    ...['-object', `memory-backend-memfd,id=ram,size=${memory}M,share=on`],
    ...['-chardev', `socket,id=net-socket,path=${socket},${reconnect}`],
    ...['-netdev', `vhost-user,id=net,chardev=net-socket,queues=${queues}`],
    ...['-device', `virtio-net-pci,netdev=net,${properties.join(',')}`],
  ];
}
