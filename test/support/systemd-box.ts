/**
 * A real systemd as process 1 of namespaces of its own, with basewire installed in it (systemd-box.sh). Needs root. The box is gone with
 * its process 1; its control group is taken away in `close`.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { until } from './until.ts';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
const SCRIPT = fileURLToPath(new URL('./systemd-box.sh', import.meta.url));

/** Where the unified hierarchy of control groups is mounted, or ''. */
const CGROUPS = /^cgroup2 (\S+) /m.exec(readFileSync('/proc/mounts', 'utf8'))?.[1] ?? '';

/** Why there can be no box here, or ''. */
export const NO_BOX = ((): string => {
  if (process.getuid?.() !== 0) return 'needs root for namespaces';
  if (!existsSync('/lib/systemd/systemd')) return 'there is no systemd';
  if (CGROUPS === '') return 'needs control groups, version 2';
  if (!readFileSync('/proc/filesystems', 'utf8').includes('overlay')) return 'needs overlayfs';
  const words = ['-mpfuinC', '--kill-child', 'mount', '-t', 'tmpfs', 'tmpfs', '/mnt'];
  const probe = spawnSync('unshare', words, { encoding: 'utf8' });
  return probe.status === 0 ? '' : `needs namespaces: ${probe.stderr || probe.error?.message}`;
})();

export class SystemdBox {
  readonly #folder: string;
  readonly #group: string;
  readonly #child: ChildProcess;
  #init = 0;
  #ended = false;
  output = '';

  private constructor(configuration: unknown) {
    this.#folder = mkdtempSync(join(tmpdir(), 'basewire-box-'));
    this.#group = join(CGROUPS, `basewire-box-${process.pid}`);
    mkdirSync(this.#group);
    const file = join(this.#folder, 'basewire.yaml');
    writeFileSync(file, JSON.stringify(configuration));
    const mounts = join(this.#folder, 'box');
    mkdirSync(mounts);
    // Into its control group first: that is the root of what it will see.
    const enter = `echo $$ >'${this.#group}/cgroup.procs' && exec unshare -mpfuinC --kill-child "$@"`;
    const words = ['-c', enter, 'sh', 'sh', SCRIPT, mounts, PROJECT, file];
    this.#child = spawn('sh', words, { stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.output += text;
      });
    this.#child.on('exit', () => {
      this.#ended = true;
    });
  }

  static async start(configuration: unknown): Promise<SystemdBox> {
    const box = new SystemdBox(configuration);
    try {
      await until(
        'systemd to answer',
        () => {
          if (box.#ended) throw new Error(`the box ended:\n${box.output}`);
          const { pid } = box.#child;
          const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
          if (children === '') return false;
          box.#init = Number(children.split(' ')[0]);
          return (
            box.run('systemctl', 'show', 'box.target', '-p', 'ActiveState').stdout ===
            'ActiveState=active\n'
          );
        },
        60_000,
      );
      return box;
    } catch (error) {
      await box.close();
      throw error;
    }
  }

  /** A command in the box. */
  run(...words: string[]): { status: number | null; stdout: string; stderr: string } {
    const entered = [
      '-t',
      `${this.#init}`,
      '-m',
      '-u',
      '-i',
      '-n',
      '-p',
      '-C',
      '-r',
      '-w',
      ...words,
    ];
    return spawnSync('nsenter', entered, { encoding: 'utf8', timeout: 30_000 });
  }

  /** What a command in the box prints; throws when it fails. */
  say(...words: string[]): string {
    const { status, stdout, stderr } = this.run(...words);
    if (status !== 0) throw new Error(`${words.join(' ')}: ${status}\n${stdout}${stderr}`);
    return stdout.trim();
  }

  /** One property of the unit. */
  property(name: string): string {
    return this.say('systemctl', 'show', 'basewire', '-p', name, '--value');
  }

  /** A file of the box as this process can open it. */
  path(name: string): string {
    return `/proc/${this.#init}/root${name}`;
  }

  async close(): Promise<void> {
    if (!this.#ended) this.#child.kill('SIGKILL'); // and with it the box's process 1
    await until('the box to be gone', () => this.#ended);
    await until('its control groups to be empty', () => {
      try {
        removeGroups(this.#group);
        return true;
      } catch {
        return false;
      }
    });
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function removeGroups(path: string): void {
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) removeGroups(join(path, entry.name));
  rmdirSync(path);
}
