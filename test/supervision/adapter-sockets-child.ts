/** In a network namespace of its own: opens an adapter while no worker is there; prints the answer's kind, and which descriptors are open. */
import { execFileSync } from 'node:child_process';
import type { ToWorker } from '../../src/base/messages.ts';
import { AdapterSockets } from '../../src/supervision/adapter-sockets.ts';
import { isOpen } from '../support/is-open.ts';

execFileSync('ip', ['link', 'add', 'bwa', 'type', 'veth', 'peer', 'name', 'bwb']);
const plan = { name: 'uplink', interface: 'bwa', mac: null, coupleUdp: false };
const sent: ToWorker[] = [];
const sockets = new AdapterSockets(
  [plan] as never,
  [],
  (message) => {
    sent.push(message);
    return false;
  },
  () => {},
);
sockets.open(0);
const [{ kind, fd, doorbell }] = sent as Extract<ToWorker, { kind: 'adapterOpened' }>[];
console.log(JSON.stringify({ kind, open: [fd, doorbell?.fd].map(isOpen) }));
