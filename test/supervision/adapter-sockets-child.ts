/**
 * In a network namespace of its own: opens an adapter, while no worker is there or, with the argument "taken", for one that takes its descriptors over; prints
 * the answer's kind, and which descriptors are open before that, and behind it.
 */
import { execFileSync } from 'node:child_process';
import type { ToWorker } from '../../src/base/messages.ts';
import { AdapterSockets } from '../../src/supervision/adapter-sockets.ts';
import { isOpen } from '../support/is-open.ts';

execFileSync('ip', ['link', 'add', 'bwa', 'type', 'veth', 'peer', 'name', 'bwb']);
const plan = { name: 'uplink', interface: 'bwa', mac: null, coupleUdp: false };
const taken = process.argv[2] === 'taken';
const sent: ToWorker[] = [];
const sockets = new AdapterSockets(
  [plan] as never,
  [],
  (message) => {
    sent.push(message);
    return taken;
  },
  () => {},
);
sockets.open(0);
const [{ kind, fd, doorbell }] = sent as Extract<ToWorker, { kind: 'adapterOpened' }>[];
const open = () => [fd, doorbell?.fd].map(isOpen);
const before = open();
sockets.taken(0, taken);
console.log(JSON.stringify({ kind, before, behind: open() }));
