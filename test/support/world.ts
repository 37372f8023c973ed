/**
 * A daemon and the VMs of one test: everything that was started is closed again, and the standing rules are looked at in the
 * end: the same process is alive, and for every port received = delivered + drops + waiting.
 */
import { expect } from 'vitest';
import {
  Daemon,
  type DaemonConfig,
  type DaemonOptions,
  findCount,
  type VmStatus,
} from './daemon.ts';
import { THREE_VMS } from './traffic.ts';
import { until } from './until.ts';
import { Vm, type VmOptions } from './vm.ts';

export class World {
  readonly daemon: Daemon;
  readonly #vms = new Set<Vm>();

  private constructor(daemon: Daemon) {
    this.daemon = daemon;
  }

  static async start(
    config: DaemonConfig = { vms: THREE_VMS },
    options: DaemonOptions = {},
  ): Promise<World> {
    return new World(await Daemon.start(config, options));
  }

  /** A running VM on the port `name`. */
  async vm(name: string, options: VmOptions = {}): Promise<Vm> {
    await this.daemon.untilState(name, 'waiting');
    const vm = this.adopt(await Vm.start(this.daemon.socket(name), options));
    await this.daemon.untilState(name, 'running');
    return vm;
  }

  /** A connected VM that has said nothing yet. */
  async connected(name: string, options: VmOptions = {}): Promise<Vm> {
    await this.daemon.untilState(name, 'waiting');
    return this.adopt(await Vm.connect(this.daemon.socket(name), options));
  }

  /** Closes it at the end of the test. */
  adopt(vm: Vm): Vm {
    this.#vms.add(vm);
    return vm;
  }

  /** Ends every VM of the test and waits until their ports are free again. */
  async release(): Promise<void> {
    for (const vm of this.#vms) vm.close();
    this.#vms.clear();
    expect(this.daemon.running, 'the daemon is alive').toBe(true);
    const { vms } = await this.daemon.status();
    for (const name of Object.keys(vms)) await this.daemon.untilState(name, 'waiting');
  }

  /** Waits until every port's books balance. */
  async balance(): Promise<void> {
    let sentence = '';
    await until('received = delivered + drops + waiting', async () => {
      const { vms } = await this.daemon.status();
      sentence = Object.entries(vms)
        .map(([name, vm]) => imbalance(name, vm))
        .filter((text) => text !== '')
        .join('; ');
      return sentence === '';
    }).catch((error: Error) => {
      throw new Error(`${error.message}: ${sentence}`);
    });
  }

  async close(): Promise<void> {
    for (const vm of this.#vms) vm.close();
    this.#vms.clear();
    await this.daemon.stop();
  }
}

function imbalance(name: string, vm: VmStatus): string {
  const received = vm.output.datagrams;
  const delivered = findCount(vm, 'delivered', name);
  const waiting = findCount(vm, 'waiting', name);
  const drops = Object.values(vm.drops).reduce((sum, count) => sum + count, 0);
  if (received === delivered + drops + waiting) return '';
  return `${name}: received ${received}, delivered ${delivered}, drops ${drops}, waiting ${waiting}`;
}
