// A whole small site: a base, its guests, and, with root, a LAN behind its adapter. Tests and the
// demo describe the guests; addresses, names and sockets follow from that.

import { rmSync } from 'node:fs';
import { Daemon, type DaemonConfig, type VmConfig } from '../test/support/daemon.ts';
import { type Attachment, attachment } from './attachment.ts';
import { atEnd } from './cleanup.ts';
import { withNextKernel } from './kexec.ts';
import { ADAPTER_INTERFACE, type Lan } from './lan.ts';
import type { Qemu } from './qemu.ts';
import { Vm } from './vm.ts';

/** The base's own address, the guests' gateway. */
export const BASE_ADDRESS = '10.77.0.1';
/** The adapter's name in the configuration. */
export const ADAPTER = 'uplink';

/** One guest of a site. */
export interface GuestPlan {
  /** Last byte of its address and MAC: 10.77.0.N and 52:54:00:00:00:N. */
  number: number;
  /** A management guest: may open the adapter, and its init does so at boot. */
  management?: boolean;
  /** Device properties, such as `csum=off`. */
  device?: string[];
  /** Another QEMU than the site's. */
  qemu?: Qemu;
  memory?: number;
  /** Properties of the memory, such as `hugetlb=on`. */
  memoryBackend?: string[];
  queues?: number;
  /** Further keys of the VM in the configuration, such as `socket`. */
  vm?: Record<string, unknown>;
  /** Which of several sockets, from 1. */
  socket?: number;
  /** Further arguments of QEMU. */
  arguments?: string[];
  /** Holds another kernel, to start with kexec. */
  nextKernel?: boolean;
}

/** What makes a site. */
export interface SiteOptions {
  guests: Record<string, GuestPlan>;
  qemu: Qemu;
  /** Without one there is no adapter, and no root is needed. */
  lan?: Lan | undefined;
  /** Seconds of a controller's lease. */
  lease?: number;
  /** Further top-level keys of the configuration. */
  config?: Partial<DaemonConfig>;
}

/** A running base with guests that can be booted. */
export class Site {
  readonly daemon: Daemon;
  readonly options: SiteOptions;
  readonly #vms = new Map<string, Vm>();
  readonly #undo: () => void;

  private constructor(daemon: Daemon, options: SiteOptions) {
    this.daemon = daemon;
    this.options = options;
    this.#undo = atEnd(() => {
      if (daemon.running) process.kill(daemon.pid, 'SIGKILL');
      rmSync(daemon.folder, { recursive: true, force: true });
    });
    for (const [name, plan] of Object.entries(options.guests)) {
      const qemu = plan.qemu ?? options.qemu;
      this.#vms.set(
        name,
        new Vm({
          name,
          qemu,
          folder: daemon.folder,
          attachment: this.attachment(name),
          settings: this.#settings(name, plan),
          initrd: plan.nextKernel ? withNextKernel(daemon.folder) : undefined,
        }),
      );
    }
  }

  /** QEMU's arguments that attach a guest; `over` goes over its plan. */
  attachment(name: string, over: Partial<Attachment> = {}): string[] {
    const plan = this.#plan(name);
    const qemu = plan.qemu ?? this.options.qemu;
    const config = this.daemon.configPath;
    const args = attachment({ ...plan, config, vm: name, qemu, ...over });
    return [...args, ...(plan.arguments ?? [])];
  }

  /** Starts the base; the guests are booted by `boot`. */
  static async start(options: SiteOptions): Promise<Site> {
    const { lan } = options;
    const under = lan ? { under: lan.underBase } : {};
    return new Site(await Daemon.start(configOf(options), under), options);
  }

  /** Boots guests, all of them unless named, at once. */
  async boot(...names: string[]): Promise<void> {
    const chosen = names.length > 0 ? names : Object.keys(this.options.guests);
    await Promise.all(chosen.map((name) => this.vm(name).start()));
  }

  vm(name: string): Vm {
    const vm = this.#vms.get(name);
    if (!vm) throw new Error(`the site has no guest ${name}`);
    return vm;
  }

  addressOf(name: string): string {
    return addressOf(this.#plan(name));
  }

  #plan(name: string): GuestPlan {
    const plan = this.options.guests[name];
    if (!plan) throw new Error(`the site has no guest ${name}`);
    return plan;
  }

  /** Ends guests and base; the base must end well. */
  async stop(): Promise<void> {
    await Promise.all([...this.#vms.values()].map((vm) => vm.stop()));
    if (this.daemon.running) await this.daemon.stop();
    this.#undo();
  }

  /** What there is to see when something failed. */
  transcript(): string {
    const guests = [...this.#vms.values()].map((vm) => vm.transcript());
    return [...guests, '--- base', ...this.daemon.lines.slice(-40)].join('\n');
  }

  #settings(name: string, plan: GuestPlan): Record<string, string> {
    const { guests, lan } = this.options;
    const hosts = Object.entries(guests).map(([other, its]) => `${other}:${addressOf(its)}`);
    if (lan) hosts.push(`lan:${lan.address}`);
    const control = plan.management && lan ? { control: ADAPTER, base: BASE_ADDRESS } : {};
    return {
      name,
      address: `${addressOf(plan)}/24`,
      gateway: BASE_ADDRESS,
      hosts: [...hosts, `base:${BASE_ADDRESS}`].join(','),
      ...control,
    };
  }
}

function addressOf(plan: GuestPlan): string {
  return `10.77.0.${plan.number}`;
}

function configOf(options: SiteOptions): DaemonConfig {
  const vms: Record<string, VmConfig> = {};
  for (const [name, plan] of Object.entries(options.guests)) {
    const mac = `52:54:00:00:00:${plan.number.toString(16).padStart(2, '0')}`;
    const management = plan.management ? { management: true } : {};
    vms[name] = { addresses: [addressOf(plan)], mac, ...management, ...plan.vm };
  }
  const controllers = Object.keys(vms).filter((name) => options.guests[name]?.management);
  if (!options.lan || controllers.length === 0) return { vms, ...options.config };
  const uplink = {
    interface: ADAPTER_INTERFACE,
    controllers,
    nextHop: options.lan.address,
    lease: options.lease ?? 10,
  };
  return { vms, adapters: { [ADAPTER]: uplink }, ...options.config };
}
