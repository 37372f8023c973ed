/**
 * Row "adapter": datagrams per second from a VM out to the LAN, and from the LAN in to the VM, against DPDK's net_vhost joined to
 * net_af_packet. The LAN's host drops what it gets as it arrives. And the round trip of an echo from the LAN to the base itself, against testpmd
 * that does nothing else.
 */
import { join } from 'node:path';
import { type Echo, echo } from '../lib/echo.ts';
import { BASE_MAC, PORTS } from '../lib/generator.ts';
import type { Lab } from '../lib/lab.ts';
import { NoiseMeter } from '../lib/machine.ts';
import { Wire } from '../lib/namespaces.ts';
import { DPDK, NETWORK, provide } from '../lib/needs.ts';
import { type DatagramFields, udpFrame, writePcap } from '../lib/pcap.ts';
import { sleep } from '../lib/process.ts';
import { type Cell, quantity } from '../lib/results.ts';
import { compare, judgeNoise, median, summarise } from '../lib/statistics.ts';
import { Testpmd } from '../lib/testpmd.ts';
import { BASE_ADDRESS, startWithAdapter } from '../lib/with-adapter.ts';
import type { RowRunner } from './row.ts';

/** Far beyond the subnet: reached through the next hop. */
const OUTSIDE = '192.0.2.1';
const REQUIRED = 1.5;

interface Forwarder {
  socket: string;
  pids: number[];
  /** MAC address that the VM sends to, and the LAN. */
  insideMac: string;
  outsideMac: string;
  stop(): Promise<void>;
}

async function startOurs(
  lab: Lab,
  wire: Wire,
  {
    poll = 'adaptive',
    coupleUdp = 'auto',
  }: { poll?: 'adaptive' | 'busy'; coupleUdp?: string } = {},
): Promise<Forwarder> {
  const base = await startWithAdapter(lab, wire, { poll }, [
    'nextHop: 10.77.0.254',
    `coupleUdp: ${coupleUdp}`,
  ]);
  return {
    socket: base.sockets[0],
    pids: [...base.pids, base.probePid],
    insideMac: BASE_MAC,
    outsideMac: wire.mac('near'),
    stop: base.stop,
  };
}

async function startPeer(lab: Lab, wire: Wire): Promise<Forwarder> {
  const socket = join(lab.subfolder('dpdk-adapter'), '0.sock');
  const testpmd = await Testpmd.start(lab, {
    name: 'dpdk-adapter',
    core: lab.cores.switch,
    namespace: wire.near,
    devices: [`net_vhost0,iface=${socket},queues=1`, `net_af_packet0,iface=${wire.nearInterface}`],
    args: [
      '--forward-mode=io',
      '--port-topology=paired',
      '--rxd=1024',
      '--txd=1024',
      '--total-num-mbufs=16384',
    ],
  });
  await testpmd.command('start');
  return {
    socket,
    pids: [testpmd.pid],
    insideMac: wire.mac('far'),
    outsideMac: wire.mac('near'),
    stop: () => testpmd.quit(),
  };
}

/** Answers ARP and echo requests for every address, and does nothing else. */
async function startPeersEcho(lab: Lab, wire: Wire): Promise<Pick<Forwarder, 'pids' | 'stop'>> {
  const testpmd = await Testpmd.start(lab, {
    name: 'dpdk-echo',
    core: lab.cores.switch,
    namespace: wire.near,
    devices: [`net_af_packet0,iface=${wire.nearInterface}`],
    args: ['--forward-mode=icmpecho', '--total-num-mbufs=16384'],
  });
  await testpmd.command('start');
  return { pids: [testpmd.pid], stop: () => testpmd.quit() };
}

interface Reading {
  rate: number;
  foreign: number;
  steal: number;
}

const VIRTIO = (socket: string) =>
  `net_virtio_user0,mac=${PORTS[0].mac},path=${socket},queues=1,queue_size=1024,packed_vq=0,mrg_rxbuf=1,in_order=0`;

const FORWARDING = [
  '--forward-mode=io',
  '--port-topology=paired',
  '--rxd=1024',
  '--txd=1024',
  '--total-num-mbufs=16384',
];

/** A file with a burst of equal datagrams of one flow. */
function burst(lab: Lab, name: string, fields: DatagramFields): string {
  const file = join(lab.folder, `${name}.pcap`);
  writePcap(
    file,
    Array.from({ length: 32 }, () => udpFrame(fields)),
  );
  return file;
}

/** The VM plays a file in a loop (net_pcap to net_virtio_user); counted where the LAN's host drops it. */
async function measureOut(
  lab: Lab,
  wire: Wire,
  forwarder: Forwarder,
  bytes: number,
): Promise<Reading> {
  const file = burst(lab, 'out', {
    sourceMac: PORTS[0].mac,
    destinationMac: forwarder.insideMac,
    source: PORTS[0].address,
    destination: OUTSIDE,
    bytes,
  });
  const generator = await Testpmd.start(lab, {
    name: 'generator',
    core: lab.cores.generator,
    devices: [`net_pcap0,rx_pcap=${file},infinite_rx=1`, VIRTIO(forwarder.socket)],
    args: FORWARDING,
  });
  try {
    await generator.command('start');
    await sleep(lab.timing.warmup * 1000);
    const noise = new NoiseMeter([process.pid, generator.pid, ...forwarder.pids]);
    const [before, from] = [wire.farReceived(), performance.now()];
    await sleep(lab.timing.measure * 1000);
    const [after, to] = [wire.farReceived(), performance.now()];
    return { rate: ((after - before) / (to - from)) * 1000, ...noise.read() };
  } finally {
    await generator.quit();
  }
}

/**
 * What the kernel's way over the wire allows: testpmd sends (net_pcap to net_af_packet), on the core of whoever sends there otherwise, and nobody
 * has a socket at the other end.
 */
async function measureAlone(
  lab: Lab,
  wire: Wire,
  direction: 'out' | 'in',
  bytes: number,
): Promise<number> {
  const [here, there] =
    direction === 'out' ? (['near', 'far'] as const) : (['far', 'near'] as const);
  const file = burst(lab, 'alone', {
    sourceMac: wire.mac(here),
    destinationMac: wire.mac(there),
    source: direction === 'out' ? PORTS[0].address : OUTSIDE,
    destination: direction === 'out' ? OUTSIDE : PORTS[0].address,
    bytes,
  });
  const sender = await Testpmd.start(lab, {
    name: 'sender',
    core: direction === 'out' ? lab.cores.switch : lab.cores.generator,
    namespace: here === 'near' ? wire.near : wire.far,
    devices: [
      `net_pcap0,rx_pcap=${file},infinite_rx=1`,
      `net_af_packet0,iface=${here === 'near' ? wire.nearInterface : wire.farInterface}`,
    ],
    args: FORWARDING,
  });
  const WIRE = 1; // in the order of the devices
  try {
    await sender.command('start');
    await sleep(lab.timing.warmup * 1000);
    await sender.counts();
    await sleep(lab.timing.measure * 1000);
    return (await sender.counts())[WIRE]!.sentRate;
  } finally {
    await sender.quit();
  }
}

/** One testpmd is both the LAN's sender (net_pcap to net_af_packet) and the VM that receives (net_virtio_user to net_null). */
async function measureIn(
  lab: Lab,
  wire: Wire,
  forwarder: Forwarder,
  bytes: number,
): Promise<Reading> {
  const file = burst(lab, 'in', {
    sourceMac: wire.mac('far'),
    destinationMac: forwarder.outsideMac,
    source: OUTSIDE,
    destination: PORTS[0].address,
    bytes,
  });
  const generator = await Testpmd.start(lab, {
    name: 'generator',
    core: lab.cores.generator,
    namespace: wire.far,
    devices: [
      `net_pcap0,rx_pcap=${file},infinite_rx=1`,
      `net_af_packet0,iface=${wire.farInterface}`,
      VIRTIO(forwarder.socket),
      'net_null0,no-rx=1',
    ],
    args: FORWARDING,
  });
  const VM = 2; // in the order of the devices
  try {
    await generator.command('start');
    await sleep(lab.timing.warmup * 1000);
    const noise = new NoiseMeter([process.pid, generator.pid, ...forwarder.pids]);
    await generator.counts();
    await sleep(lab.timing.measure * 1000);
    const counts = await generator.counts();
    return { rate: counts[VM]!.receivedRate, ...noise.read() };
  } finally {
    await generator.quit();
  }
}

const PEER = 'dpdk af_packet';
const UNCOUPLED = 'basewire, coupleUdp: false';
const BUSY = 'basewire busy';

/** Who answers an echo from the LAN. */
const ECHOERS: Record<string, (lab: Lab, wire: Wire) => Promise<Pick<Forwarder, 'pids' | 'stop'>>> =
  {
    basewire: startOurs,
    [BUSY]: (lab, wire) => startOurs(lab, wire, { poll: 'busy' }),
    [PEER]: startPeersEcho,
  };

/** How the interface receives in the last lines, see `Wire.receiveLikeACard`. The peer can't read what was coalesced. */
const THREADED = ', in a thread';
const COALESCED = ', UDP GRO';
const RECEIVERS: [name: string, how: string][] = [
  ['basewire', THREADED],
  ['basewire', COALESCED],
  [PEER, THREADED],
];

const STARTERS: Record<string, (lab: Lab, wire: Wire) => Promise<Forwarder>> = {
  basewire: startOurs,
  [UNCOUPLED]: (lab, wire) => startOurs(lab, wire, { coupleUdp: 'false' }),
  [PEER]: startPeer,
};

export const adapterRow: RowRunner = {
  name: 'adapter',
  title: 'Adapter: datagrams per second from a VM to the LAN and back, over a veth',
  async run(lab, options) {
    const lacking = provide(
      [
        ...DPDK,
        ...NETWORK,
        { what: 'nft', package: 'nftables' },
        { what: 'ethtool', package: 'ethtool' },
        { what: 'ping', package: 'iputils-ping' },
        {
          what: '/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_pcap.so',
          package: 'librte-net-pcap23',
        },
      ],
      options.install,
    );
    if (lacking !== null) throw new Error(lacking);
    if (!lab.root) throw new Error('needs root: packet sockets and network namespaces');
    const names = Object.keys(STARTERS).filter((name) => options.only?.includes(name) ?? true);
    const sizes = options.sizes ?? (lab.timing.quick ? [64] : [64, 1500]);
    const readings = new Map<string, Reading[]>();
    const echoes = new Map<string, Echo[]>();
    const alone = new Map<string, number[]>();
    const wire = new Wire(lab);
    wire.dropAtFarEnd();
    wire.cutUdpAtNearEnd();
    for (let round = 0; round < lab.timing.rounds; round++) {
      const record = (line: string, name: string, reading: Reading) => {
        const key = `${line}/${name}`;
        readings.set(key, [...(readings.get(key) ?? []), reading]);
        lab.say(
          `round ${round + 1}/${lab.timing.rounds} ${name} ${line}: ${quantity(reading.rate, '/s')}`,
        );
      };
      for (const name of names) {
        const forwarder = await STARTERS[name]!(lab, wire);
        try {
          for (const bytes of sizes) {
            for (const [direction, measure] of [
              ['out', measureOut],
              ['in', measureIn],
            ] as const) {
              if (name === UNCOUPLED && direction === 'in') continue; // nothing is coupled there
              const reading = await measure(lab, wire, forwarder, bytes);
              record(`${bytes} B ${direction}`, name, reading);
            }
          }
        } finally {
          await forwarder.stop();
        }
      }
      for (const [name, how] of RECEIVERS.filter(([receiver]) => names.includes(receiver))) {
        const threads = wire.receiveLikeACard(true, how === COALESCED);
        let forwarder: Forwarder | null = null;
        try {
          forwarder = await STARTERS[name]!(lab, wire);
          forwarder.pids.push(...threads);
          for (const bytes of sizes) {
            const reading = await measureIn(lab, wire, forwarder, bytes);
            record(`${bytes} B in${how}`, name, reading);
          }
        } finally {
          await forwarder?.stop();
          wire.receiveLikeACard(false);
        }
      }
      for (const bytes of sizes) {
        for (const direction of ['out', 'in'] as const) {
          const key = `${bytes} B ${direction}`;
          const rate = await measureAlone(lab, wire, direction, bytes);
          alone.set(key, [...(alone.get(key) ?? []), rate]);
          lab.say(
            `round ${round + 1}/${lab.timing.rounds} a sender alone ${key}: ${quantity(rate, '/s')}`,
          );
        }
      }
      for (const [name, start] of Object.entries(ECHOERS)) {
        if (!(options.only?.includes(name) ?? true)) continue;
        const echoer = await start(lab, wire);
        try {
          const reading = await echo(lab, wire, BASE_ADDRESS, echoer.pids);
          echoes.set(name, [...(echoes.get(name) ?? []), reading]);
          lab.say(
            `round ${round + 1}/${lab.timing.rounds} ${name} echo: ${reading.microseconds.toFixed(0)} µs`,
          );
        } finally {
          await echoer.stop();
        }
      }
    }
    const rate = (reading: Reading) => reading.rate;
    const rates = sizes.flatMap((bytes) =>
      [
        { line: 'out', ours: 'basewire', peers: 'out' },
        { line: 'out, coupleUdp: false', of: 'out', ours: UNCOUPLED, peers: 'out' },
        { line: 'in', ours: 'basewire', peers: 'in' },
        { line: `in${THREADED}`, ours: 'basewire', peers: `in${THREADED}` },
        { line: `in${COALESCED}`, ours: 'basewire', peers: `in${THREADED}` },
      ].flatMap(({ line, of = line, ours, peers }) => {
        const required = lab.timing.quick ? null : REQUIRED;
        const cells = toCell(
          `${bytes} B ${line}`,
          'datagrams/s',
          readings.get(`${bytes} B ${of}/${ours}`) ?? [],
          readings.get(`${bytes} B ${peers}/${PEER}`) ?? [],
          rate,
          required,
        );
        const most = alone.get(`${bytes} B ${line}`);
        if (most !== undefined) {
          const note = `with nobody at the other end the sender's kernel path alone carries ${quantity(median(most), '/s')}/s`;
          for (const { notes } of cells) notes.push(note);
        }
        if (line.endsWith(COALESCED)) {
          const note = 'coalesced for basewire alone: the peer can’t read such frames';
          for (const { notes } of cells) notes.push(note);
        }
        return cells;
      }),
    );
    const echoed = [
      ['', 'basewire'],
      [', busy', BUSY],
    ].flatMap(([how, ours]) => {
      const of = (name: string) => echoes.get(name) ?? [];
      if (of(ours!).length === 0) return [];
      const name = `echo, LAN to base and back${how}`;
      return toCell(name, 'µs', of(ours!), of(PEER), (trip) => trip.microseconds, null);
    });
    return [...rates, ...echoed];
  },
};

/** One cell, or none where nobody was measured. Of time, less is better. */
function toCell<T extends { foreign: number; steal: number }>(
  name: string,
  unit: string,
  ours: T[],
  peer: T[],
  value: (reading: T) => number,
  required: number | null,
): Cell[] {
  if (ours.length === 0 && peer.length === 0) return [];
  const less = unit === 'µs';
  const candidates: Cell['candidates'] = {};
  if (ours.length > 0) candidates.basewire = summarise(ours.map(value));
  if (peer.length > 0) candidates[PEER] = summarise(peer.map(value));
  const spreads = Object.values(candidates).map(({ spread }) => spread);
  const noise = judgeNoise([...ours, ...peer], spreads);
  const comparisons =
    ours.length > 0 && peer.length > 0
      ? [compare(PEER, ours.map(value), peer.map(value), required, noise.quiet, less)]
      : [];
  return [{ name, unit, less, candidates, comparisons, noise, notes: [] }];
}
