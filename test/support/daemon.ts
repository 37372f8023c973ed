/**
 * The daemon under test: starts the built command line with a configuration in a temporary folder, waits for "ready", reads its
 * status, its log lines, and what /proc says about it; stops it and clears up.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './until.ts';

/** BASEWIRE_CLI names another build, such as one with sanitizers. */
export const COMMAND =
  process.env.BASEWIRE_CLI ?? fileURLToPath(new URL('../../dist/cli.js', import.meta.url));

/** BASEWIRE_TEST_WORKERS: every daemon of the tests has so many turn workers, unless the test says how many. */
const WORKERS = Number(process.env.BASEWIRE_TEST_WORKERS ?? 1);

/** True when `npm run build` has been done. */
export const BUILT = existsSync(COMMAND);

export interface VmConfig {
  addresses: string[];
  mac?: string;
  management?: boolean;
  network?: string;
  [key: string]: unknown;
}

export interface DaemonConfig {
  networks?: Record<string, unknown>;
  vms: Record<string, VmConfig>;
  adapters?: Record<string, unknown>;
  datapath?: Record<string, unknown>;
  user?: string | number;
  group?: string | number;
  log?: Record<string, unknown>;
  state?: { file: string };
}

/** The base's own MAC and address in the default network. */
export const BASE_MAC = '02:00:0a:4d:00:01';
export const BASE_IP = '10.77.0.1';

const LAN = { lan: { subnet: '10.77.0.0/24', address: BASE_IP, mac: BASE_MAC } };

export interface Traffic {
  datagrams: number;
  bytes: number;
}

export interface VmStatus {
  state: 'waiting' | 'connected' | 'running' | 'broken';
  output: Traffic;
  input: Traffic;
  drops: Record<string, number>;
  [key: string]: unknown;
}

export interface Status {
  vms: Record<string, VmStatus>;
  adapters: Record<
    string,
    { state: string; drops: Record<string, number>; [key: string]: unknown }
  >;
}

export interface DaemonOptions {
  /** Arguments for node itself. */
  nodeArguments?: string[];
  environment?: Record<string, string>;
  /** Command to run it under, such as ['prlimit', '--nofile=64']. */
  under?: string[];
  /** Whose the folder is (user and group number), for a daemon that does not stay root. */
  owner?: number;
}

export class Daemon {
  readonly folder: string;
  readonly configPath: string;
  readonly lines: string[] = [];
  #child: ChildProcess;
  #exit: { code: number | null; signal: NodeJS.Signals | null } | null = null;

  private constructor(folder: string, configPath: string, options: DaemonOptions) {
    this.folder = folder;
    this.configPath = configPath;
    this.#child = this.#spawn(options);
  }

  #spawn(options: DaemonOptions): ChildProcess {
    const command = [
      ...(options.under ?? []),
      process.execPath,
      ...(options.nodeArguments ?? []),
      COMMAND,
      'run',
      '--config',
      this.configPath,
    ];
    this.#exit = null;
    const child = spawn(command[0], command.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.environment },
    });
    for (const stream of [child.stdout!, child.stderr!]) {
      let rest = '';
      stream.setEncoding('utf8').on('data', (text: string) => {
        const pieces = (rest + text).split('\n');
        rest = pieces.pop()!;
        this.lines.push(...pieces);
      });
    }
    child.on('exit', (code, signal) => {
      this.#exit = { code, signal };
    });
    return child;
  }

  /** Starts it and waits until it is ready. */
  static async start(config: DaemonConfig, options: DaemonOptions = {}): Promise<Daemon> {
    if (!BUILT) throw new Error('dist/cli.js is missing: run "npm run build"');
    const folder = mkdtempSync(join(tmpdir(), 'basewire-test-'));
    if (options.owner !== undefined) chownSync(folder, options.owner, options.owner);
    const configPath = join(folder, 'basewire.yaml');
    const vms = Object.entries(config.vms).map(([name, vm]) => [
      name,
      { socket: join(folder, `${name}.sock`), ...vm },
    ]);
    const whole = {
      networks: LAN,
      admin: { socket: join(folder, 'admin.sock') },
      ...config,
      datapath: { ...(WORKERS > 1 && { workers: WORKERS }), ...config.datapath },
      vms: Object.fromEntries(vms),
    };
    writeFileSync(configPath, JSON.stringify(whole, null, 2)); // YAML contains JSON
    const daemon = new Daemon(folder, configPath, options);
    try {
      await daemon.untilReady();
    } catch (error) {
      await daemon.kill();
      throw error;
    }
    return daemon;
  }

  async untilReady(): Promise<void> {
    const from = this.lines.length;
    await until(
      'the daemon to be ready',
      () => {
        if (this.#exit !== null) {
          throw new Error(
            `the daemon ended (${JSON.stringify(this.#exit)}):\n${this.lines.join('\n')}`,
          );
        }
        return this.lines
          .slice(from === this.lines.length ? 0 : from)
          .some((line) => isReady(line));
      },
      25000,
    );
  }

  /** Starts it again after it has ended, with the same configuration. */
  async restart(options: DaemonOptions = {}): Promise<void> {
    if (this.#exit === null) throw new Error('it still runs');
    this.lines.length = 0;
    this.#child = this.#spawn(options);
    await this.untilReady();
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get running(): boolean {
    return this.#exit === null;
  }

  get exit(): { code: number | null; signal: NodeJS.Signals | null } | null {
    return this.#exit;
  }

  socket(vm: string): string {
    return join(this.folder, `${vm}.sock`);
  }

  // --- admin interface --------------------------------------------------------------------------

  get(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const call = request(
        { socketPath: join(this.folder, 'admin.sock'), path, timeout: 12000, agent: false },
        (response) => {
          let body = '';
          response.setEncoding('utf8');
          response.on('data', (text: string) => {
            body += text;
          });
          response.on('end', () => {
            if (response.statusCode === 200) resolve(body);
            else reject(new Error(`${path}: HTTP ${response.statusCode}: ${body}`));
          });
        },
      );
      call.on('timeout', () => call.destroy(new Error(`${path}: no answer`)));
      call.on('error', reject);
      call.end();
    });
  }

  async status(): Promise<Status> {
    return JSON.parse(await this.get('/v1/status')) as Status;
  }

  async vm(name: string): Promise<VmStatus> {
    const { vms } = await this.status();
    if (vms[name] === undefined) throw new Error(`no VM ${name} in the status`);
    return vms[name];
  }

  untilState(vm: string, state: VmStatus['state'], milliseconds?: number): Promise<VmStatus> {
    return until(
      `${vm} to be ${state}`,
      async () => {
        const status = await this.vm(vm);
        return status.state === state ? status : null;
      },
      milliseconds,
    );
  }

  /** One of the port's counters by its name in src/counters.ts, wherever the status shows it. */
  async count(vm: string, name: string): Promise<number> {
    return findCount(await this.vm(vm), name, vm);
  }

  /** Waits until a counter has a value (or at least it). */
  async untilCount(vm: string, name: string, value: number, exactly = true): Promise<void> {
    let last = -1;
    await until(`${vm}.${name} = ${value}`, async () => {
      last = await this.count(vm, name);
      return exactly ? last === value : last >= value;
    }).catch((error: Error) => {
      throw new Error(`${error.message} (it is ${last})`);
    });
  }

  /** Stops every thread of it (SIGSTOP) and waits until the last one stands: one that runs on its own processor takes a while. */
  async freeze(): Promise<void> {
    process.kill(this.pid, 'SIGSTOP');
    const folder = `/proc/${this.pid}/task`;
    await until('all threads to stand', () =>
      readdirSync(folder).every((thread) =>
        /^State:\s+T/m.test(readFileSync(`${folder}/${thread}/status`, 'utf8')),
      ),
    );
  }

  /** Lets it go on. */
  thaw(): void {
    process.kill(this.pid, 'SIGCONT');
  }

  // --- what the kernel says ---------------------------------------------------------------------

  /** Numbers of the open descriptors; sockets and eventfds included. */
  descriptors(): string[] {
    return readdirSync(`/proc/${this.pid}/fd`);
  }

  /** Mappings of memfds and shared files (guest memory), by line of /proc/PID/maps. */
  guestMappings(): string[] {
    return readFileSync(`/proc/${this.pid}/maps`, 'utf8')
      .split('\n')
      .filter((line) => line.includes('/memfd:guest-memory') || line.includes('/dev/shm/'));
  }

  /** Waits until there are no more of them than `count`: another thread takes them away. */
  async untilMappings(count: number): Promise<void> {
    await until(`no more than ${count} mappings`, () => this.guestMappings().length <= count);
  }

  /** Resident bytes. */
  residentBytes(): number {
    const text = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(text)![1]) * 1024;
  }

  /** Processor time used so far, in clock ticks (1/100 s). */
  processorTicks(): number {
    const text = readFileSync(`/proc/${this.pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return Number(fields[11]) + Number(fields[12]);
  }

  // --- the end ----------------------------------------------------------------------------------

  /** SIGTERM, and waits for the end. Throws when it does not exit with 0. The folder goes. */
  async stop(): Promise<void> {
    if (this.#exit === null) this.#child.kill('SIGTERM');
    try {
      await until('the daemon to end', () => this.#exit !== null, 10000);
      if (this.#exit!.code !== 0) {
        throw new Error(
          `the daemon ended with ${JSON.stringify(this.#exit)}:\n${this.lines.join('\n')}`,
        );
      }
      const there = existsSync(this.folder) ? readdirSync(this.folder) : [];
      const left = there.filter((name) => name.endsWith('.sock'));
      if (left.length > 0) throw new Error(`the daemon left ${left}`);
    } finally {
      await this.kill();
    }
  }

  /** SIGKILL and clearing up. */
  async kill(): Promise<void> {
    await this.die();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** SIGKILL only: the folder stays, for a restart. */
  async die(): Promise<void> {
    if (this.#exit === null) this.#child.kill('SIGKILL');
    await until('the daemon to be gone', () => this.#exit !== null);
  }
}

function isReady(line: string): boolean {
  if (!line.includes('ready')) return false;
  try {
    const entry = JSON.parse(line) as { msg?: string };
    return entry.msg?.startsWith('ready') ?? false;
  } catch {
    return /\bready\b/.test(line);
  }
}

/** Looks a counter up in a status object: at the top, in its drops, or in any object one level down. */
export function findCount(status: Record<string, unknown>, name: string, owner: string): number {
  for (const place of [status, ...Object.values(status)]) {
    if (typeof place !== 'object' || place === null) continue;
    const value = (place as Record<string, unknown>)[name];
    if (typeof value === 'number') return value;
  }
  throw new Error(`the status of ${owner} has no count "${name}": ${JSON.stringify(status)}`);
}
