/**
 * Row "adapter": datagrams per second from a VM out to the LAN, and from the LAN in to the VM, against DPDK's net_vhost joined to
 * net_af_packet. The LAN's host drops what it gets as it arrives. And the round trip of an echo from the LAN to the base itself, against testpmd
 * that does nothing else.
 */
import { join } from 'node:path';
import { type BaseOptions, startBase } from '../lib/candidates.ts';
import { type Echo, echo } from '../lib/echo.ts';
import { BASE_MAC, PORTS } from '../lib/generator.ts';
import type { Lab } from '../lib/lab.ts';
import { NoiseMeter } from '../lib/machine.ts';
import { Wire } from '../lib/namespaces.ts';
import { DPDK, NETWORK, provide } from '../lib/needs.ts';
import { type DatagramFields, udpFrame, writePcap } from '../lib/pcap.ts';
import { Probe } from '../lib/probe.ts';
import { sleep } from '../lib/process.ts';
import { type Cell, quantity } from '../lib/results.ts';
import { compare, judgeNoise, summarise } from '../lib/statistics.ts';
import { Testpmd } from '../lib/testpmd.ts';
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

const CONTROLLER = { mac: '52:54:00:00:00:02', address: '10.77.0.2' };

async function startOurs(
  lab: Lab,
  wire: Wire,
  coupleUdp: boolean,
  poll: 'adaptive' | 'busy' = 'adaptive',
): Promise<Forwarder> {
  const options: BaseOptions = {
    poll,
    namespace: wire.near,
    moreVms: `  controller:
    socket: @/controller.sock
    addresses: [${CONTROLLER.address}]
    mac: ${CONTROLLER.mac}
    management: true
`,
    adapter: `adapters:
  uplink:
    interface: ${wire.nearInterface}
    controllers: [controller]
    nextHop: 10.77.0.254
    lease: 86400
    coupleUdp: ${coupleUdp}
`,
  };
  const base = await startBase(lab, options);
  const probe = new Probe(lab, 'open-adapter', {
    socket: join(base.folder, 'controller.sock'),
    ...CONTROLLER,
    baseMac: BASE_MAC,
    base: BASE_ADDRESS,
    adapter: 'uplink',
  });
  const stop = async () => {
    await probe.stop();
    await base.stop();
  };
  try {
    const answer = await probe.result<{ ok: boolean }>(30);
    if (!answer.ok) throw new Error(`the adapter was not opened: ${JSON.stringify(answer)}`);
  } catch (error) {
    await stop();
    throw new Error(`${(error as Error).message}\n${base.log()}`);
  }
  return {
    socket: base.sockets[0],
    pids: [...base.pids, probe.child.pid],
    insideMac: BASE_MAC,
    outsideMac: wire.mac('near'),
    stop,
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

const BASE_ADDRESS = '10.77.0.1';
const PEER = 'dpdk af_packet';
const COUPLED = 'basewire, coupleUdp';
const BUSY = 'basewire, busy';

/** Who answers an echo from the LAN. */
const ECHOERS: Record<string, (lab: Lab, wire: Wire) => Promise<Pick<Forwarder, 'pids' | 'stop'>>> =
  {
    basewire: (lab, wire) => startOurs(lab, wire, false),
    [BUSY]: (lab, wire) => startOurs(lab, wire, false, 'busy'),
    [PEER]: startPeersEcho,
  };

const STARTERS: Record<string, (lab: Lab, wire: Wire) => Promise<Forwarder>> = {
  basewire: (lab, wire) => startOurs(lab, wire, false),
  [COUPLED]: (lab, wire) => startOurs(lab, wire, true),
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
    const wire = new Wire(lab);
    wire.dropAtFarEnd();
    wire.cutUdpAtNearEnd();
    for (let round = 0; round < lab.timing.rounds; round++) {
      for (const name of names) {
        const forwarder = await STARTERS[name]!(lab, wire);
        try {
          for (const bytes of sizes) {
            for (const [direction, measure] of [
              ['out', measureOut],
              ['in', measureIn],
            ] as const) {
              if (name === COUPLED && direction === 'in') continue; // nothing is coupled there
              const reading = await measure(lab, wire, forwarder, bytes);
              const key = `${bytes} B ${direction}/${name}`;
              readings.set(key, [...(readings.get(key) ?? []), reading]);
              lab.say(
                `round ${round + 1}/${lab.timing.rounds} ${name} ${bytes} B ${direction}: ${quantity(reading.rate, '/s')}`,
              );
            }
          }
        } finally {
          await forwarder.stop();
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
    const rates = sizes.flatMap((bytes) =>
      [
        ['out', 'basewire', ''],
        ['out', COUPLED, ', coupleUdp'],
        ['in', 'basewire', ''],
      ]
        .map(([direction, ours, how]) => {
          const of = (name: string) => readings.get(`${bytes} B ${direction}/${name}`) ?? [];
          return toCell(`${bytes} B ${direction}${how}`, of(ours!), of(PEER), lab);
        })
        .filter((cell) => Object.keys(cell.candidates).length > 0),
    );
    return [...rates, ...echoCells(echoes)];
  },
};

function toCell(name: string, ours: Reading[], peer: Reading[], lab: Lab): Cell {
  const rates = (readings: Reading[]) => readings.map(({ rate }) => rate);
  const candidates: Cell['candidates'] = {};
  if (ours.length > 0) candidates.basewire = summarise(rates(ours));
  if (peer.length > 0) candidates[PEER] = summarise(rates(peer));
  const spreads = Object.values(candidates).map(({ spread }) => spread);
  const noise = judgeNoise([...ours, ...peer], spreads);
  const required = lab.timing.quick ? null : REQUIRED;
  return {
    name,
    unit: 'datagrams/s',
    less: false,
    candidates,
    comparisons:
      ours.length > 0 && peer.length > 0
        ? [compare(PEER, rates(ours), rates(peer), required, noise.quiet)]
        : [],
    noise,
    notes: [],
  };
}

function echoCells(echoes: Map<string, Echo[]>): Cell[] {
  const values = (name: string) => (echoes.get(name) ?? []).map((echo) => echo.microseconds);
  const peer = values(PEER);
  return [
    ['', 'basewire'],
    [', busy', BUSY],
  ].flatMap(([how, name]) => {
    const ours = values(name!);
    if (ours.length === 0) return [];
    const candidates: Cell['candidates'] = { basewire: summarise(ours) };
    if (peer.length > 0) candidates[PEER] = summarise(peer);
    const spreads = Object.values(candidates).map(({ spread }) => spread);
    const noise = judgeNoise([...echoes.get(name!)!, ...(echoes.get(PEER) ?? [])], spreads);
    return [
      {
        name: `echo, LAN to base and back${how}`,
        unit: 'µs',
        less: true,
        candidates,
        comparisons: peer.length > 0 ? [compare(PEER, ours, peer, null, noise.quiet, true)] : [],
        noise,
        notes: [],
      },
    ];
  });
}
