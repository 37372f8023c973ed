/** Ranked case 38: no descriptors left, nobody reads the log, no room for the state file. Datagrams go on, and all is well again afterwards. */
import { execFileSync, spawn } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { native } from '../../src/native.ts';
import { BASE_IP, COMMAND, type Daemon } from '../support/daemon.ts';
import { encodeMessage } from '../support/frontend.ts';
import { REQUEST, u64 } from '../support/protocol.ts';
import { A, echoFrame, THREE_VMS } from '../support/traffic.ts';
import { pause, until } from '../support/until.ts';
import { QEMU_PROTOCOL_FEATURES, Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';
import { Pair } from './pair.ts';

const PLENTY = 1024;

/** How many descriptors the daemon may have. */
function limit(daemon: Daemon, soft: number): void {
  execFileSync('prlimit', [`--pid=${daemon.pid}`, `--nofile=${soft}:`]);
}

/** The limit under which so many numbers are free. */
function leaving(daemon: Daemon, spare: number): number {
  const used = new Set(daemon.descriptors().map(Number));
  let end = 0;
  for (let free = 0; used.has(end) || free < spare; end++) if (!used.has(end)) free++;
  return end;
}

describe('resources run out', { timeout: 60_000 }, () => {
  let world: World | undefined;
  let pair: Pair | undefined;
  afterEach(async () => {
    pair?.close();
    await world?.close();
    pair = world = undefined;
  });

  test('descriptors: whoever is there goes on, whoever comes is refused until there are some', async () => {
    world = await World.start({ vms: THREE_VMS });
    pair = await Pair.start(world.daemon);
    const { daemon } = world;
    await pair.expectNoLoss(50);
    for (const spare of [0, 1, 3, 6]) {
      limit(daemon, leaving(daemon, spare));
      // The kernel completes the connection; what the base makes of it is what is tried.
      const a = await Vm.connect(daemon.socket('a'), { queueSize: 16 });
      const start = (async () => {
        await a.negotiate();
        await a.run();
      })().then(
        () => 'served',
        () => 'refused',
      );
      await pair.expectNoLoss(300);
      if (spare < 6) limit(daemon, PLENTY);
      // Let in now, or cut off: never left hanging.
      await until('an end of it', () => {
        a.frontEnd.poll();
        pair!.step();
        return Promise.race([start, pause().then(() => false)]);
      });
      a.close();
      limit(daemon, PLENTY);
      await daemon.untilState('a', 'waiting');
    }
    const a = await world.vm('a');
    a.close();
    await pair.expectNoLoss(50);
    await world.balance();
  });

  test('descriptors: who is connected already is told so by the metrics', async () => {
    world = await World.start({ vms: THREE_VMS });
    const { daemon } = world;
    const socket = connect(join(daemon.folder, 'admin.sock'));
    let answers = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      answers += text;
    });
    // As Prometheus asks, on one connection.
    const scrape = async () => {
      answers = '';
      socket.write('GET /metrics HTTP/1.1\r\nHost: basewire\r\n\r\n');
      await until(
        'all metrics',
        () => socket.destroyed || /^basewire_process_max_descriptors \d/m.test(answers),
      );
      const value = (name: string) => new RegExp(`^basewire_${name} (.*)$`, 'm').exec(answers)?.[1];
      return [value('ready'), value('process_open_descriptors')];
    };
    try {
      const [ready, open] = await scrape();
      expect(ready).toBe('1');
      expect(Number(open)).toBeLessThan(PLENTY);
      limit(daemon, leaving(daemon, 0));
      expect((await scrape())[0]).toBe('1');
    } finally {
      limit(daemon, PLENTY);
      socket.destroy();
    }
  });

  test('descriptors: one that comes along and can’t be had is the front-end’s end, and no fault of it', async () => {
    world = await World.start({ vms: THREE_VMS });
    const { daemon } = world;
    const a = await world.connected('a');
    await a.frontEnd.negotiate(QEMU_PROTOCOL_FEATURES);
    await a.frontEnd.getFeatures();
    const before = await daemon.count('a', 'malformedMessages');
    const admin = join(daemon.folder, 'admin.sock');
    const connections = () =>
      readFileSync('/proc/net/unix', 'utf8')
        .split('\n')
        .filter((line) => line.endsWith(admin));
    await until('nobody but the listener at the admin socket', () => connections().length === 1);
    const call = native.eventfd();
    const message = encodeMessage(REQUEST.SET_VRING_CALL, u64(0n), { needReply: true });
    try {
      limit(daemon, leaving(daemon, 0));
      await a.frontEnd.sendBytes(message, [call]);
      await a.frontEnd.untilClosed();
    } finally {
      limit(daemon, PLENTY);
      native.closeDescriptor(call);
    }
    expect((await daemon.vm('a')).lastError).toMatch(
      /a descriptor that came along .* none is left/,
    );
    expect(await daemon.count('a', 'malformedMessages')).toBe(before);
    a.close();
    await world.vm('a');
  });

  test('address space: a front-end that shares more than there is is refused, the others go on', async () => {
    world = await World.start({ vms: THREE_VMS });
    pair = await Pair.start(world.daemon);
    const { daemon } = world;
    await pair.expectNoLoss(50);
    const status = readFileSync(`/proc/${daemon.pid}/status`, 'utf8');
    const now = Number(/VmSize:\s+(\d+) kB/.exec(status)![1]) * 1024;
    const limit = (soft: string) =>
      execFileSync('prlimit', [`--pid=${daemon.pid}`, `--as=${soft}:`]);
    const a = await Vm.connect(daemon.socket('a'), {
      // Sparse: nobody has so much.
      memory: { regions: [{ guestAddress: 0x100000, bytes: 2 ** 30 }] },
    });
    try {
      limit(`${now + 2 ** 29}`);
      await a.negotiate();
      a.createQueues();
      await a.applyFeatures();
      for (let round = 0; round < 20; round++) {
        expect(await a.frontEnd.addRegion(a.memory.regions[0])).toBe(1n);
        await pair.expectNoLoss(20);
      }
      limit('unlimited');
      await a.run();
      await daemon.untilState('a', 'running');
    } finally {
      a.close();
    }
    await pair.expectNoLoss(50);
    await world.balance();
  });

  test('the reader of its log goes away', async () => {
    // sed ends after the line "ready"; the daemon's process is the one that is started.
    world = await World.start(
      { vms: THREE_VMS },
      { under: ['bash', '-c', 'exec "$0" "$@" > >(exec sed -u "/ready/q")'] },
    );
    pair = await Pair.start(world.daemon);
    const { daemon } = world;
    for (let round = 0; round < 5; round++) {
      (await world.vm('a')).close();
      await daemon.untilState('a', 'waiting');
    }
    await pair.expectNoLoss(100);
    const status = (await daemon.status()) as unknown as { logDropped: number };
    expect(status.logDropped).toBeGreaterThan(0);
    await world.balance();
  });

  test('the disk of its log is full: it serves, and SIGTERM ends it', async () => {
    world = await World.start({ vms: THREE_VMS });
    const { daemon } = world;
    world = undefined;
    await daemon.die();
    const child = spawn(process.execPath, [COMMAND, 'run', '--config', daemon.configPath], {
      stdio: ['ignore', openSync('/dev/full', 'w'), 'ignore'],
    });
    try {
      const ended = new Promise((resolve) => child.once('exit', (...how) => resolve(how)));
      await until('it to serve', () =>
        daemon.status().then(
          () => true,
          () => false,
        ),
      );
      child.kill('SIGTERM');
      expect(await ended).toEqual([0, null]);
    } finally {
      child.kill('SIGKILL');
      await daemon.kill();
    }
  });

  test('signals without a meaning: no debugger, no end', async () => {
    world = await World.start({ vms: THREE_VMS });
    const { daemon } = world;
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGHUP'] as const) {
      process.kill(daemon.pid, signal);
      await until(`${signal} in the log`, () =>
        daemon.lines.some((line) => line.includes(`${signal} ignored`)),
      );
    }
    expect(daemon.lines.filter((line) => /debugger/i.test(line))).toEqual([]);
    expect(daemon.running).toBe(true);
  });

  const root = process.getuid!() === 0;
  test.skipIf(!root)('the disk of the state file is full (needs root for a tmpfs)', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'basewire-full-'));
    const mount = `mount -t tmpfs -o size=16k none ${folder} && exec "$0" "$@"`;
    try {
      const file = join(folder, 'state.json');
      // Its MAC is learned, and so to be kept.
      const vms = { ...THREE_VMS, a: { addresses: [A.ip] } };
      world = await World.start(
        { vms, state: { file } },
        {
          under: ['unshare', '-m', 'bash', '-c', mount],
        },
      );
      const { daemon } = world;
      const inside = (path: string) => `/proc/${daemon.pid}/root${path}`;
      expect(() => writeFileSync(inside(join(folder, 'filler')), Buffer.alloc(65536))).toThrow(
        /ENOSPC/,
      );
      pair = await Pair.start(daemon);
      await pair.expectNoLoss(200);
      const a = await world.vm('a');
      await a.send(echoFrame(A, BASE_IP));
      await a.receive();
      await until('the warning', () =>
        daemon.lines.some((line) => line.includes('the state file can')),
      );
      a.close();
      await daemon.untilState('a', 'waiting');
      await pair.expectNoLoss(200);
      expect(readdirSync(inside(folder))).not.toContain('state.json.new');
      rmSync(inside(join(folder, 'filler')));
      await world.balance();
      pair.close();
      await world.close();
      world = undefined;
      expect(existsSync(file)).toBe(false); // it was in the daemon's own mount only
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
