/**
 * DPDK's `net_vhost` as a real back-end: two ports that dpdk-testpmd forwards between, without a look-up. The front-end for
 * tests is proven against it, so that a disagreement with our own daemon is not the front-end's fault.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { until } from './until.ts';

/** Where dpdk-testpmd is, or null. */
export const TESTPMD =
  (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'dpdk-testpmd'))
    .find((path) => existsSync(path)) ?? null;

export class DpdkBackEnd {
  readonly folder = mkdtempSync(join(tmpdir(), 'basewire-dpdk-'));
  readonly lines: string[] = [];
  #child: ChildProcess;
  #ended = false;

  private constructor(queues: number) {
    const vdevs = [0, 1].flatMap((port) => [
      '--vdev',
      `net_vhost${port},iface=${this.socket(port)},queues=${queues}`,
    ]);
    this.#child = spawn(
      TESTPMD!,
      [
        ...['--no-huge', '-m', '192', '--no-pci', `--file-prefix=basewire${process.pid}`],
        ...['--lcores', '0@0,1@1', ...vdevs, '--'],
        ...['--total-num-mbufs=4096', '--nb-cores=1', '--forward-mode=io', '--auto-start'],
        ...[`--rxq=${queues}`, `--txq=${queues}`, '--stats-period=60'],
      ],
      { stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, XDG_RUNTIME_DIR: this.folder } },
    );
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => this.lines.push(...text.split('\n')));
    }
    this.#child.on('exit', () => {
      this.#ended = true;
    });
  }

  static async start(queues = 1): Promise<DpdkBackEnd> {
    const backEnd = new DpdkBackEnd(queues);
    try {
      await until(
        'testpmd to listen',
        () => {
          if (backEnd.#ended) throw new Error(`testpmd ended:\n${backEnd.lines.join('\n')}`);
          return existsSync(backEnd.socket(0)) && existsSync(backEnd.socket(1));
        },
        20000,
      );
    } catch (error) {
      await backEnd.stop();
      throw error;
    }
    return backEnd;
  }

  socket(port: number): string {
    return join(this.folder, `vhost${port}`);
  }

  async stop(): Promise<void> {
    if (!this.#ended) this.#child.kill('SIGKILL');
    await until('testpmd to be gone', () => this.#ended);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
