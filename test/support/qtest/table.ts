/**
 * `npm run hostile-table`: tells the same lies to basewire and to DPDK's net_vhost and writes what became of each beside the
 * other into docs/hostile-guest.md. Needs QEMU, DPDK (package dpdk) and a build.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { systemQemu } from '../../../qemu/qemu.ts';
import { BASE_MAC, Daemon } from '../daemon.ts';
import { TESTPMD } from '../dpdk.ts';
import { ethernet, ETHERTYPE, ipv4, PROTOCOL, udp } from '../packets.ts';
import { until } from '../until.ts';
import { LIES, type Lie } from './cases.ts';
import { tellLie } from './outcome.ts';
import { VirtioGuest } from './virtio-guest.ts';

const DOCUMENT = fileURLToPath(new URL('../../../docs/hostile-guest.md', import.meta.url));
const BEGIN = '<!-- side by side: begin (npm run hostile-table) -->';
const END = '<!-- side by side: end -->';
const MAC = '52:54:00:00:00:11';
const SOURCE = '10.77.0.11';
const NOBODY = '10.77.0.99';

const packet = ipv4(
  { source: SOURCE, destination: NOBODY, protocol: PROTOCOL.udp },
  udp(
    { source: SOURCE, destination: NOBODY, sourcePort: 1, destinationPort: 9 },
    Buffer.alloc(20, 7),
  ),
);
const FRAME = Buffer.concat([
  Buffer.alloc(12),
  ethernet({ source: MAC, destination: BASE_MAC, type: ETHERTYPE.ipv4 }, packet),
]);
/** Datagrams of one case that are as they should be: three around the lie, three after the reset. */
const GOOD = 6;

interface BackEnd {
  name: string;
  socket: string;
  /** Datagrams taken as valid so far. */
  valid(): Promise<number>;
  alive(): boolean;
  /** What it says of the lie by itself, '' for nothing. */
  remark(lie: Lie): Promise<string>;
  stop(): Promise<void>;
}

async function basewire(): Promise<BackEnd> {
  const daemon = await Daemon.start({ vms: { liar: { addresses: [SOURCE], mac: MAC } } });
  let before = await daemon.vm('liar');
  return {
    name: 'basewire',
    socket: daemon.socket('liar'),
    valid: async () => (await daemon.vm('liar')).drops.noRoute,
    alive: () => daemon.running,
    async remark() {
      const after = await daemon.vm('liar');
      const counted = Object.keys(after.drops).filter(
        (reason) => reason !== 'noRoute' && after.drops[reason] > before.drops[reason],
      );
      const events = (status: typeof after) => status.events as Record<string, number>;
      if (events(after).ringsBroken > events(before).ringsBroken) counted.push('ringsBroken');
      before = after;
      return counted.map((name) => `\`${name}\``).join(', ');
    },
    stop: () => daemon.stop().then(() => {}),
  };
}

async function dpdk(): Promise<BackEnd> {
  const folder = mkdtempSync(join(tmpdir(), 'basewire-table-'));
  const socket = join(folder, 'vhost');
  let output = '';
  let ended = false;
  const child: ChildProcess = spawn(
    'stdbuf', // or what it prints would wait in its buffer until the end
    [
      ...[
        '-oL',
        TESTPMD!,
        '--no-huge',
        '-m',
        '192',
        '--no-pci',
        `--file-prefix=basewire${process.pid}`,
      ],
      ...['--lcores', '0@0,1@1', '--vdev', `net_vhost0,iface=${socket},queues=1`, '--'],
      ...['-i', '--total-num-mbufs=4096', '--nb-cores=1', '--forward-mode=rxonly', '--auto-start'],
    ],
    { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, XDG_RUNTIME_DIR: folder } },
  );
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.on('data', (data: Buffer) => {
      output += data;
    });
  }
  child.stdin!.on('error', () => {});
  child.on('exit', () => {
    ended = true;
  });
  const ready = () => existsSync(socket) && output.includes('testpmd>');
  await until('testpmd to listen', ready, 30_000);
  return {
    name: 'DPDK net_vhost',
    socket,
    async valid() {
      const from = output.length;
      child.stdin!.write('show port stats 0\n');
      return until('the statistics of testpmd', () => {
        if (ended) throw new Error('testpmd ended');
        const match = /RX-packets:\s+(\d+)\s/.exec(output.slice(from));
        return match && { count: Number(match[1]) };
      }).then(({ count }) => count);
    },
    alive: () => !ended,
    remark: async () => '',
    async stop() {
      child.kill('SIGKILL');
      await until('testpmd to be gone', () => ended);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** One line of the table for one back-end. */
async function judge(backEnd: BackEnd, guest: VirtioGuest, lie: Lie): Promise<string> {
  const before = await backEnd.valid();
  const { used, usedAfterReset } = await tellLie(guest, lie, FRAME);
  if (!backEnd.alive()) return 'the process died';
  const extra = (await backEnd.valid()) - before - GOOD;
  const remark = await backEnd.remark(lie);
  const heals = usedAfterReset === 3 ? '' : '; not healed by a reset';
  if (used < 4) {
    const what = remark.includes('ringsBroken')
      ? 'that ring stopped and said so'
      : 'the queue stalls without a word';
    return `${what}${remark && ` (${remark})`}${heals}`;
  }
  if (extra > 1) return `taken as valid, with ${extra - 1} stale chains${heals}`;
  if (extra === 1) return `taken as valid${heals}`;
  return `dropped, queue goes on${remark && ` (${remark})`}${heals}`;
}

async function column(start: () => Promise<BackEnd>): Promise<string[]> {
  const outcomes: string[] = [];
  for (const lie of LIES) {
    // A fresh back-end for each, so that one lie's damage is not the next one's.
    const backEnd = await start();
    let guest: VirtioGuest | null = null;
    try {
      guest = await VirtioGuest.start(systemQemu()!.program, backEnd.socket, MAC);
      outcomes.push(await judge(backEnd, guest, lie));
    } finally {
      await guest?.stop();
      await backEnd.stop();
    }
    process.stdout.write(`${backEnd.name}: ${lie.name}: ${outcomes.at(-1)}\n`);
  }
  return outcomes;
}

const missing = [...(systemQemu() ? [] : ['qemu-system-x86']), ...(TESTPMD ? [] : ['dpdk'])];
if (missing.length > 0) {
  process.stderr.write(
    `Missing: ${missing.join(', ')}. As root: apt-get install ${missing.join(' ')}\n`,
  );
  process.exit(1);
}
const ours = await column(basewire);
const theirs = await column(dpdk);
const rows = LIES.map(({ name }, index) => `| ${name} | ${ours[index]} | ${theirs[index]} |`);
const version = execFileSync('dpkg-query', ['-W', '-f', '${source:Upstream-Version}', 'dpdk'], {
  encoding: 'utf8',
});
const table = [
  `| the guest offers | basewire | DPDK ${version} net_vhost |`,
  '|---|---|---|',
  ...rows,
].join('\n');
const text = readFileSync(DOCUMENT, 'utf8');
const [head, rest] = text.split(BEGIN);
const tail = rest?.split(END)[1];
if (tail === undefined) throw new Error(`${DOCUMENT} lacks the marks ${BEGIN} and ${END}`);
writeFileSync(DOCUMENT, `${head}${BEGIN}\n\n${table}\n\n${END}${tail}`);
