/**
 * The standing fixture of the hostile tests: an attacker's port `a`, victims `b` and `c`, and an adapter with a host on a LAN behind it.
 * The flows between b and c and between b and that host must not lose a datagram whatever `a` does. After each case the standing
 * assertions are checked. Where no LAN can be made, the flows are those between b and c only, and a skipped test says so.
 */
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { BASE_IP, type Daemon, type DaemonConfig } from './daemon.ts';
import { EchoFlow } from './echo-flow.ts';
import { Flow } from './flow.ts';
import { BOTH_FORMATS } from './formats.ts';
import { Lan, NO_LAN } from './lan.ts';
import { parse } from './packets.ts';
import { A, B, C, type Host, THREE_VMS, udpFrame } from './traffic.ts';
import { until } from './until.ts';
import { Vm, type VmOptions } from './vm.ts';
import { World } from './world.ts';

const MEBIBYTE = 1 << 20;
/** What V8 may take for its heap during a case; leaks are looked for by repetition in connection-cycles.test.ts. */
const RESIDENT_SLACK = 64 * MEBIBYTE;
const CONTROL_PORT = 7356;
const WARN = 40;
/** A burst before the limit on log lines of one port takes hold; never one per message or datagram. */
const MOST_WARNINGS = 24;
const MOST_LINES_PER_CONNECTION = 8;

/** Opens the adapter when the fixture starts, and leaves; the adapter stays open. */
const OPENER: Host = { mac: '52:54:00:00:00:02', ip: '10.77.0.2' };

/** The configuration with the LAN's adapter on network lan, which must have none. */
function withAdapter(config: DaemonConfig, lan: Lan): DaemonConfig {
  const opener = { network: 'lan', addresses: [OPENER.ip], mac: OPENER.mac, management: true };
  const adapter = {
    interface: lan.interface,
    network: 'lan',
    controllers: ['opener'],
    lease: 86_400,
    onControllerLoss: 'keep',
  };
  return {
    ...config,
    vms: { ...config.vms, opener },
    adapters: { ...config.adapters, outside: adapter },
  };
}

interface Baseline {
  pid: number;
  descriptors: number;
  mappings: number;
  resident: number;
  lines: number;
}

export class Fixture {
  readonly world: World;
  b!: Vm;
  c!: Vm;
  flow!: Flow;
  /** Between b and the LAN; null where there is none. */
  echoes: EchoFlow | null = null;
  readonly lan: Lan | null;
  #attackers: Vm[] = [];
  #baseline!: Baseline;
  #marker = 0;
  /** Connections that the case makes besides `attacker()`. */
  connections = 0;

  private constructor(world: World, lan: Lan | null) {
    this.world = world;
    this.lan = lan;
  }

  static async start(config: DaemonConfig = { vms: THREE_VMS }): Promise<Fixture> {
    const lan = NO_LAN === '' ? await Lan.start() : null;
    const world =
      lan === null
        ? World.start(config)
        : World.start(withAdapter(config, lan), { under: lan.under });
    const fixture = new Fixture(
      await world.catch(async (error: Error) => {
        await lan?.close();
        throw error;
      }),
      lan,
    );
    try {
      fixture.b = await fixture.world.vm('b');
      // Where packed rings are offered one of the victims has them.
      fixture.c = await fixture.world.vm('c', { packed: config === BOTH_FORMATS });
      fixture.flow = new Flow(fixture.b, B, fixture.c, C);
      if (lan !== null) await fixture.#reachLan();
    } catch (error) {
      await fixture.close();
      throw error;
    }
    return fixture;
  }

  async #reachLan(): Promise<void> {
    const opener = await this.world.vm('opener');
    const text = Buffer.from('{"id":1,"op":"open","adapter":"outside"}');
    await until('the adapter to open', async () => {
      await opener.send(udpFrame(OPENER, BASE_IP, text, { ports: [5555, CONTROL_PORT] }));
      const { udp } = parse((await opener.receive()).frame);
      return (JSON.parse(udp!.payload.toString()) as { ok: boolean }).ok;
    });
    opener.close();
    await this.daemon.untilState('opener', 'waiting');
    const echoes = new EchoFlow(this.b, B, () => this.flow.poll());
    this.flow.claim = (vm, one) => vm === this.b && echoes.claim(one);
    this.echoes = echoes;
  }

  get daemon(): Daemon {
    return this.world.daemon;
  }

  /** Begins a case: the flow runs, the baseline is taken. */
  async begin(): Promise<void> {
    await this.daemon.untilState('a', 'waiting');
    this.flow.start();
    this.echoes?.start();
    await this.flow.advance(4);
    await this.echoes?.advance(2);
    this.connections = 0;
    this.#baseline = {
      pid: this.daemon.pid,
      descriptors: this.daemon.descriptors().length,
      mappings: this.daemon.guestMappings().length,
      resident: this.daemon.residentBytes(),
      lines: this.daemon.lines.length,
    };
  }

  /** The attacker's VM, running. */
  async attacker(options: VmOptions = {}): Promise<Vm> {
    await this.daemon.untilState('a', 'waiting');
    const vm = await Vm.start(this.daemon.socket('a'), options);
    this.#attackers.push(vm);
    this.connections++;
    await this.daemon.untilState('a', 'running');
    return vm;
  }

  /** The attacker's VM, connected only. */
  async connectedAttacker(options: VmOptions = {}): Promise<Vm> {
    await this.daemon.untilState('a', 'waiting');
    const vm = await Vm.connect(this.daemon.socket('a'), options);
    this.#attackers.push(vm);
    this.connections++;
    return vm;
  }

  adopt(vm: Vm): Vm {
    this.#attackers.push(vm);
    this.connections++;
    return vm;
  }

  /** An honest datagram from the attacker arrives at `b`, and nothing else arrived there before it. */
  async goodPasses(a: Vm): Promise<void> {
    const text = `good ${this.#marker++}`;
    await a.send(udpFrame(A, B.ip, Buffer.from(text)));
    const { frame } = await this.flow.other(this.b);
    expect(parse(frame).udp?.payload.toString()).toBe(text);
  }

  /** Ends a case: the attacker leaves, then the standing assertions. */
  async end(): Promise<void> {
    for (const vm of this.#attackers.splice(0)) vm.close();
    const { daemon, flow } = this;
    const base = this.#baseline;
    expect(daemon.running, `the daemon is alive:\n${daemon.lines.join('\n')}`).toBe(true);
    expect(daemon.pid).toBe(base.pid);
    await this.#losesNothing().catch(async (error: Error) => {
      throw new Error(`${error.message}; ${await this.#drops()}`);
    });
    for (const vm of [this.b, this.c]) {
      expect(
        flow
          .others(vm)
          .splice(0)
          .map((one) => one.frame.toString('hex')),
      ).toEqual([]);
    }
    await daemon.untilState('a', 'waiting');
    await this.world.balance();
    await until(
      `descriptors and mappings as before (${base.descriptors}, ${base.mappings})`,
      () =>
        daemon.descriptors().length <= base.descriptors &&
        daemon.guestMappings().length <= base.mappings,
    );
    expect(daemon.residentBytes() - base.resident).toBeLessThan(RESIDENT_SLACK);
    const lines = daemon.lines.slice(base.lines);
    const warnings = lines.filter((line) => levelOf(line) >= WARN);
    expect(warnings.length, warnings.join('\n')).toBeLessThanOrEqual(MOST_WARNINGS);
    const most = MOST_WARNINGS + MOST_LINES_PER_CONNECTION * (this.connections + 1);
    expect(lines.length, lines.join('\n')).toBeLessThanOrEqual(most);
  }

  async #losesNothing(): Promise<void> {
    await this.flow.advance();
    await this.echoes?.advance();
    await this.echoes?.finish();
    await this.flow.finish();
  }

  /** What became of what was lost: the reasons that the base has counted, and the LAN's. */
  async #drops(): Promise<string> {
    const { vms, adapters } = await this.daemon.status();
    const of = (name: string, drops: Record<string, number>): string => {
      const counted = Object.entries(drops).filter(([, count]) => count > 0);
      return `${name}: ${counted.map(([reason, count]) => `${reason} ${count}`).join(', ') || 'none'}`;
    };
    const all = Object.entries({ ...vms, ...adapters });
    return `drops since the start: ${all.map(([name, { drops }]) => of(name, drops)).join('; ')}`;
  }

  async close(): Promise<void> {
    this.flow?.stop();
    this.echoes?.stop();
    for (const vm of this.#attackers.splice(0)) vm.close();
    try {
      await this.world.close();
    } finally {
      await this.lan?.close();
    }
  }
}

function levelOf(line: string): number {
  try {
    const { level } = JSON.parse(line) as { level?: number | string };
    if (typeof level === 'number') return level;
    return level === 'warn' ? WARN : level === 'error' || level === 'fatal' ? WARN + 10 : 0;
  } catch {
    return /\b(warn|error|fatal)\b/i.test(line) ? WARN : 0;
  }
}

/** Sets the fixture up for the tests of a file or block; every test is a case of its own. */
export function useFixture(config?: DaemonConfig): () => Fixture {
  let fixture: Fixture | undefined;
  beforeAll(async () => {
    fixture = await Fixture.start(config);
  });
  beforeEach(() => fixture!.begin());
  afterEach(() => fixture!.end());
  afterAll(() => fixture?.close());
  test.skipIf(NO_LAN !== '')(
    `the flow between a victim and a host on the LAN${NO_LAN && ` (skipped: ${NO_LAN})`}`,
    () => fixture!.echoes!.advance(50),
  );
  return () => fixture!;
}
