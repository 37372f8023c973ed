/**
 * Row "guests": iperf3 and ping between two Linux guests, and between a guest and the LAN, over three ways of joining them. Where
 * there is no KVM the guests themselves (QEMU's TCG) take most of the processor time; the row then says little about the switch, and says so.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { attachment } from '../../qemu/attachment.ts';
import { paths } from '../../qemu/paths.ts';
import { newerQemu, type Qemu, systemQemu } from '../../qemu/qemu.ts';
import { Vm } from '../../qemu/vm.ts';
import { pingTimes } from '../lib/echo.ts';
import { PORTS } from '../lib/generator.ts';
import type { Lab } from '../lib/lab.ts';
import { NoiseMeter, processSeconds } from '../lib/machine.ts';
import { FAR_ADDRESS, Wire } from '../lib/namespaces.ts';
import { GUESTS, NETWORK, provide } from '../lib/needs.ts';
import { Child, run, setNiceness } from '../lib/process.ts';
import { type Cell, quantity } from '../lib/results.ts';
import { compare, judgeNoise, median, summarise } from '../lib/statistics.ts';
import { startWithAdapter } from '../lib/with-adapter.ts';
import type { RowOptions, RowRunner } from './row.ts';

const REQUIRED = 1.2;
/** Seconds of TCP to each target before it is measured. */
const WARMUP = 5;

/** A way of joining the guests: QEMU's network arguments for each, and what else runs. */
interface Joined {
  attachments: [string[], string[]];
  /** Processes besides QEMU whose time counts. */
  pids: number[];
  /** Namespace QEMU must run in. */
  namespace: string | null;
  lan: boolean;
  stop(): Promise<void>;
  log(): string;
}

type Joiner = (lab: Lab, wire: Wire, qemu: Qemu) => Promise<Joined>;

const plain = (netdev: string, mac: string) => [
  ...['-m', '256', '-netdev', netdev, '-device', `virtio-net-pci,netdev=net,mac=${mac}`],
];

const joinByBase: Joiner = async (lab, wire, qemu) => {
  const base = await startWithAdapter(lab, wire, { pinned: false });
  const config = join(base.folder, 'basewire.yaml');
  const attach = (index: 0 | 1) => attachment({ qemu, config, vm: 'ab'[index]! });
  return {
    attachments: [attach(0), attach(1)],
    pids: base.pids,
    namespace: null,
    lan: true,
    stop: base.stop,
    log: base.log,
  };
};

const joinByBridge: Joiner = async (_lab, wire) => {
  const ip = (...args: string[]) => run('ip', ['-n', wire.near, ...args]);
  await ip('link', 'add', 'br0', 'type', 'bridge');
  await ip('link', 'set', wire.nearInterface, 'master', 'br0');
  await ip('link', 'set', 'br0', 'up');
  for (const tap of ['tap0', 'tap1']) {
    await ip('tuntap', 'add', tap, 'mode', 'tap', 'vnet_hdr');
    await ip('link', 'set', tap, 'master', 'br0');
    await ip('link', 'set', tap, 'up');
  }
  const vhost = existsSync('/dev/vhost-net') ? 'on' : 'off';
  const attach = (index: 0 | 1) =>
    plain(`tap,id=net,ifname=tap${index},script=no,downscript=no,vhost=${vhost}`, PORTS[index].mac);
  return {
    attachments: [attach(0), attach(1)],
    pids: [],
    namespace: wire.near,
    lan: true,
    async stop() {
      for (const device of ['tap0', 'tap1', 'br0']) await ip('link', 'del', device);
    },
    log: () => '',
  };
};

const joinByStream: Joiner = async (lab) => {
  const path = join(lab.subfolder('stream'), 'stream.sock');
  const attach = (index: 0 | 1) =>
    plain(
      `stream,id=net,server=${index === 0 ? 'on' : 'off'},addr.type=unix,addr.path=${path}`,
      PORTS[index].mac,
    );
  return {
    attachments: [attach(0), attach(1)],
    pids: [],
    namespace: null,
    lan: false,
    stop: async () => {},
    log: () => '',
  };
};

const JOINERS: Record<string, Joiner> = {
  basewire: joinByBase,
  'tap + bridge': joinByBridge,
  'netdev stream': joinByStream,
};

/** What one candidate gave in one round, by cell. */
interface Reading {
  values: Map<string, number>;
  noise: { foreign: number; steal: number };
}

const TRAFFIC: {
  name: string;
  unit: string;
  args: string;
  parse: (output: string, seconds: number) => number;
}[] = [
  { name: 'TCP', unit: 'bit/s', args: '', parse: (text) => bits(text) },
  {
    name: 'UDP 64 B',
    unit: 'datagrams/s',
    args: '-u -b 0 -l 22',
    parse: (text, seconds) => datagrams(text) / seconds,
  },
];

/** From iperf3's last lines: "[ 5] 0.00-5.00 sec 1.2 GBytes 2050123 Kbits/sec receiver". */
function bits(text: string): number {
  const match = /([\d.]+) Kbits\/sec.*receiver/.exec(text);
  if (!match) throw new Error(`iperf3 gave no result:\n${text}`);
  return Number(match[1]) * 1000;
}

/** Shown, not judged: what the receiving guest's kernel got of small datagrams. */
const INTO_KERNEL = ', into its kernel';

/** IP datagrams that the guest's kernel has received. Where more come than its programs can take, its sockets drop what the switch has delivered. */
async function ipReceived(guest: Vm): Promise<number> {
  const text = await guest.ok('cat /proc/net/snmp');
  const [names, values] = text.split('\n').filter((line) => line.startsWith('Ip:'));
  return Number(values!.split(' ')[names!.split(' ').indexOf('InReceives')]);
}

/** "... 0.012 ms  12/81234 (0.01%)  receiver": those that arrived. */
function datagrams(text: string): number {
  const match = /(\d+)\/(\d+) \([\d.e+-]+%\)\s+receiver/.exec(text);
  if (!match) throw new Error(`iperf3 gave no result:\n${text}`);
  return Number(match[2]) - Number(match[1]);
}

async function startGuests(lab: Lab, qemu: Qemu, joined: Joined): Promise<[Vm, Vm]> {
  let { program } = qemu;
  if (joined.namespace !== null) {
    program = join(lab.folder, 'qemu-in-namespace');
    writeFileSync(
      program,
      `#!/bin/sh\nexec ip netns exec ${joined.namespace} ${qemu.program} "$@"\n`,
    );
    chmodSync(program, 0o755);
  }
  const folder = lab.subfolder('guests');
  const guest = (index: 0 | 1) =>
    new Vm({
      name: `guest${index}`,
      qemu: { ...qemu, program },
      folder,
      attachment: joined.attachments[index],
      settings: { name: `guest${index}`, address: `${PORTS[index].address}/24` },
    });
  const guests: [Vm, Vm] = [guest(0), guest(1)];
  await guests[0].start();
  await guests[1].start();
  return guests;
}

async function measure(lab: Lab, wire: Wire, qemu: Qemu, joiner: Joiner): Promise<Reading> {
  const values = new Map<string, number>();
  const joined = await joiner(lab, wire, qemu);
  let guests: Vm[] = [];
  const far = new Child('iperf3', 'iperf3', ['-s'], { namespace: wire.far });
  try {
    const [one, two] = await startGuests(lab, qemu, joined);
    guests = [one, two];
    const noise = new NoiseMeter([process.pid, far.pid, one.pid, two.pid, ...joined.pids]);
    await two.ok('iperf3 -s -D');
    const targets: [string, string][] = [['guest to guest', PORTS[1].address]];
    if (joined.lan) targets.push(['guest to LAN', FAR_ADDRESS]);
    for (const [where, address] of targets) {
      await one.ok(`ping -c 3 -W 5 ${address}`, 60);
      // QEMU translates the guests' code and node compiles the base's when they run first.
      const warmup = lab.timing.quick ? 1 : WARMUP;
      await one.ok(`iperf3 -c ${address} -t ${warmup}`, warmup * 4 + 60);
      const seconds = Math.max(2, lab.timing.measure);
      for (const { name, args, parse } of TRAFFIC) {
        const used = () =>
          [one.pid, two.pid, far.pid, ...joined.pids].reduce(
            (sum, pid) => sum + processSeconds(pid),
            0,
          );
        const taken =
          where === 'guest to guest' && name.startsWith('UDP') ? await ipReceived(two) : null;
        const before = used();
        const text = await one.ok(
          `iperf3 -f k -c ${address} -t ${seconds} ${args}`,
          seconds * 4 + 60,
        );
        const value = parse(text, seconds);
        values.set(`${name}, ${where}`, value);
        if (taken !== null)
          values.set(
            `${name}, ${where}${INTO_KERNEL}`,
            ((await ipReceived(two)) - taken) / seconds,
          );
        if (name === 'TCP')
          values.set(`processor time, TCP ${where}`, (used() - before) / ((value * seconds) / 8e9));
      }
      // Behind the others: all that takes part is warm then, as on a host that has run for more than a minute.
      const pings = lab.timing.quick ? 10 : 200;
      const text = await one.ok(`ping -i 0.02 -c ${pings} ${address}`, 120);
      const trips = pingTimes(text);
      if (trips.length < pings / 2) throw new Error(`ping gave no result:\n${text}`);
      values.set(`ping, ${where}`, median(trips));
    }
    return { values, noise: noise.read() };
  } catch (error) {
    throw new Error(`${(error as Error).message}\n--- log\n${joined.log()}`, { cause: error });
  } finally {
    for (const guest of guests) await guest.stop();
    await far.stop('SIGTERM');
    await joined.stop();
  }
}

export const guestsRow: RowRunner = {
  name: 'guests',
  title: 'Guests: iperf3 and ping between Linux guests, and to the LAN',
  async run(lab, options) {
    // Guests and switch share the cores: whoever had priority would be paid for by the others, and that differs from peer to peer.
    const niceness = setNiceness(0);
    try {
      return await runGuests(lab, options);
    } finally {
      setNiceness(niceness);
    }
  },
};

async function runGuests(lab: Lab, options: RowOptions): Promise<Cell[]> {
  const lacking = provide([...GUESTS, ...NETWORK], options.install);
  if (lacking !== null) throw new Error(lacking);
  if (!lab.root) throw new Error('needs root: taps and network namespaces');
  // Debian 12's can't do MSI-X with vhost-user under TCG, and its guests would pay for that in every interrupt (docs/configuration.md).
  const qemu = newerQemu() ?? systemQemu();
  if (!qemu) throw new Error('there is no qemu-system-x86_64');
  if (!existsSync(paths.kernel) || !existsSync(paths.initrd))
    throw new Error('the guests are not built: npm run setup');
  const names = Object.keys(JOINERS).filter((name) => options.only?.includes(name) ?? true);
  const wire = new Wire(lab);
  const rounds = Math.min(lab.timing.rounds, 5);
  const readings = new Map<string, Reading[]>(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const name of names) {
      const reading = await measure(lab, wire, qemu, JOINERS[name]!);
      readings.get(name)!.push(reading);
      const texts = [...reading.values].map(
        ([cell, value]) => `${cell} ${quantity(value, unitOf(cell))} ${unitOf(cell)}`,
      );
      lab.say(`round ${round + 1}/${rounds} ${name}: ${texts.join('; ')}`);
    }
  }
  const cellNames = [
    ...new Set(
      [...readings.values()].flatMap((list) => list.flatMap(({ values }) => [...values.keys()])),
    ),
  ];
  const cells = cellNames.map((cell) => toCell(lab, cell, names, readings));
  cells[0]?.notes.push(
    `QEMU ${qemu.version.join('.')}`,
    execFileSync('iperf3', ['--version'], { encoding: 'utf8' }).split(' (')[0]!,
    'the guests run under TCG, without KVM, and are themselves the limit',
  );
  return cells;
}

function unitOf(cell: string): string {
  if (cell.startsWith('ping')) return 'µs';
  if (cell.startsWith('processor time')) return 's/GB';
  return TRAFFIC.find(({ name }) => cell.startsWith(name))?.unit ?? '';
}

function toCell(lab: Lab, cell: string, names: string[], readings: Map<string, Reading[]>): Cell {
  const values = (name: string) =>
    readings.get(name)!.flatMap((reading) => reading.values.get(cell) ?? []);
  const there = names.filter((name) => values(name).length > 0);
  const candidates = Object.fromEntries(there.map((name) => [name, summarise(values(name))]));
  const noise = judgeNoise(
    there.flatMap((name) => readings.get(name)!.map((reading) => reading.noise)),
    Object.values(candidates).map((summary) => summary.spread),
  );
  const unit = unitOf(cell);
  const less = unit === 'µs' || unit === 's/GB';
  const required = lab.timing.quick || cell.endsWith(INTO_KERNEL) ? null : less ? 1 : REQUIRED;
  const ours = there.includes('basewire') ? values('basewire') : null;
  return {
    name: cell,
    unit,
    less,
    candidates,
    comparisons: ours
      ? there.slice(1).map((peer) => compare(peer, ours, values(peer), required, noise.quiet, less))
      : [],
    noise,
    notes: [],
  };
}
