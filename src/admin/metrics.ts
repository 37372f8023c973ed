/** `GET /metrics`: the same numbers for Prometheus, read from the shared counters at each scrape. */
import { readdirSync, readFileSync } from 'node:fs';
import { Counter, Gauge, Registry } from 'prom-client';
import type { BaseState } from '../base-state.ts';
import {
  ADAPTER_STATES,
  type CELL,
  type DROP_REASONS,
  EVENTS,
  FIRST_DROP,
  CELLS,
  VM_STATES,
} from '../counters.ts';
import { VERSION } from '../version.ts';

type Cell = keyof typeof CELL;

export class Metrics {
  readonly registry = new Registry();
  readonly #state: BaseState;
  readonly #reasons = CELLS.slice(FIRST_DROP);

  constructor(state: BaseState) {
    this.#state = state;
    this.#portMetrics('vm', 'output', 'input');
    this.#portMetrics('adapter', 'received', 'sent');
    this.#vmGauges();
    this.#adapterGauges();
    this.#processMetrics();
  }

  /** The exposition format, read now. */
  text(): Promise<string> {
    return this.registry.metrics();
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  #counter<Label extends string>(
    name: string,
    help: string,
    labelNames: Label[],
    fill: (set: (labels: Record<Label, string>, value: number) => void) => void,
  ): void {
    new Counter({
      name: `basewire_${name}`,
      help,
      labelNames,
      registers: [this.registry],
      collect() {
        this.reset();
        fill((labels, value) => this.inc(labels, value));
      },
    });
  }

  #gauge<Label extends string>(
    name: string,
    help: string,
    labelNames: Label[],
    fill: (set: (labels: Record<Label, string>, value: number) => void) => void,
  ): void {
    new Gauge({
      name: `basewire_${name}`,
      help,
      labelNames,
      registers: [this.registry],
      collect() {
        this.reset();
        fill((labels, value) => this.set(labels, value));
      },
    });
  }

  /** Each VM's or adapter's record number, its index among its kind, and its labels. */
  #ports<Kind extends 'vm' | 'adapter'>(
    kind: Kind,
  ): { record: number; index: number; labels: Record<Kind | 'network', string> }[] {
    const { plan } = this.#state;
    const ports = kind === 'vm' ? plan.vms : plan.adapters;
    const first = kind === 'vm' ? 0 : plan.vms.length;
    return ports.map((port, index) => ({
      record: first + index,
      index,
      // A computed key has the type of every string.
      labels: { [kind]: port.name, network: plan.networks[port.network]!.name } as Record<
        Kind | 'network',
        string
      >,
    }));
  }

  #portMetrics(kind: 'vm' | 'adapter', from: string, to: string): void {
    const { counters } = this.#state;
    const labels = [kind, 'network'];
    const origin = kind === 'vm' ? 'the VM’s output buffer' : 'the network';
    const goal = kind === 'vm' ? 'the VM’s input buffer' : 'the network';
    const simple: [name: string, cell: Cell, help: string][] = [
      [`${from}_datagrams_total`, 'receivedDatagrams', `Datagrams taken from ${origin}.`],
      [`${from}_bytes_total`, 'receivedBytes', `Bytes taken from ${origin}.`],
      [
        `${from}_delivered_total`,
        'delivered',
        `Datagrams from ${origin} that were delivered or answered.`,
      ],
      [`${to}_datagrams_total`, 'sentDatagrams', `Datagrams put into ${goal}.`],
      [`${to}_bytes_total`, 'sentBytes', `Bytes put into ${goal}.`],
    ];
    for (const [name, cell, help] of simple) {
      this.#counter(`${kind}_${name}`, help, labels, (set) => {
        for (const port of this.#ports(kind)) set(port.labels, counters.get(port.record, cell));
      });
    }
    this.#gauge(
      `${kind}_${from}_waiting`,
      `Datagrams from ${origin} that wait for their receiver now.`,
      labels,
      (set) => {
        for (const port of this.#ports(kind))
          set(port.labels, counters.get(port.record, 'waiting'));
      },
    );
    this.#counter(
      `${kind}_drops_total`,
      `Datagrams from ${origin} that were dropped, by reason.`,
      [...labels, 'reason'],
      (set) => {
        for (const port of this.#ports(kind)) {
          for (const reason of this.#reasons) {
            set(
              { ...port.labels, reason },
              counters.get(port.record, reason as keyof typeof DROP_REASONS),
            );
          }
        }
      },
    );
    this.#counter(
      `${kind}_events_total`,
      'What happened to the port besides its datagrams, by event.',
      [...labels, 'event'],
      (set) => {
        for (const port of this.#ports(kind)) {
          for (const event of Object.keys(EVENTS)) {
            set({ ...port.labels, event }, counters.get(port.record, event as keyof typeof EVENTS));
          }
        }
      },
    );
  }

  #vmGauges(): void {
    this.#gauge(
      'vm_state',
      '1 for the state the VM’s port is in, 0 for the others.',
      ['vm', 'network', 'state'],
      (set) => {
        for (const { index, labels } of this.#ports('vm')) {
          for (const state of VM_STATES) {
            set({ ...labels, state }, this.#state.vms[index]!.state === state ? 1 : 0);
          }
        }
      },
    );
    this.#gauge('vm_memory_bytes', 'Guest memory that is mapped.', ['vm', 'network'], (set) => {
      for (const { index, labels } of this.#ports('vm')) {
        set(labels, this.#state.vms[index]!.memory.bytes);
      }
    });
  }

  #adapterGauges(): void {
    this.#gauge(
      'adapter_state',
      '1 for the state the adapter is in, 0 for the others.',
      ['adapter', 'network', 'state'],
      (set) => {
        for (const { index, labels } of this.#ports('adapter')) {
          for (const state of ADAPTER_STATES) {
            set({ ...labels, state }, this.#state.adapters[index]!.state === state ? 1 : 0);
          }
        }
      },
    );
    this.#gauge(
      'adapter_controlled',
      '1 while a management guest holds the adapter’s lease.',
      ['adapter', 'network'],
      (set) => {
        for (const { index, labels } of this.#ports('adapter')) {
          set(labels, this.#state.adapters[index]!.openedBy === null ? 0 : 1);
        }
      },
    );
    this.#gauge(
      'adapter_neighbours',
      'Neighbours on the network whose MAC address is known.',
      ['adapter', 'network'],
      (set) => {
        for (const { index, labels } of this.#ports('adapter')) {
          set(labels, this.#state.adapters[index]!.neighbours);
        }
      },
    );
  }

  #processMetrics(): void {
    const state = this.#state;
    this.#gauge('build_info', 'Version of basewire and of Node.', ['version', 'node'], (set) => {
      set({ version: VERSION, node: process.versions.node }, 1);
    });
    this.#gauge('uptime_seconds', 'Seconds since the start.', [], (set) =>
      set({}, state.uptimeSeconds),
    );
    this.#gauge('ready', '1 while all turn workers serve.', [], (set) =>
      set({}, state.ready ? 1 : 0),
    );
    this.#gauge('workers', 'Turn workers, each of which can take a processor core.', [], (set) =>
      set({}, state.plan.datapath.workers),
    );
    this.#counter(
      'worker_restarts_total',
      'Starts of a new turn worker after an old one failed.',
      [],
      (set) => {
        set({}, state.workerRestarts);
      },
    );
    this.#counter('log_dropped_total', 'Log lines lost because nobody read them.', [], (set) => {
      set({}, state.logDropped());
    });
    this.#gauge(
      'process_resident_memory_bytes',
      'Resident memory, shared guest memory included.',
      [],
      (set) => {
        set(
          {},
          orLacking(() => process.memoryUsage.rss(), Number.NaN),
        );
      },
    );
    this.#counter('process_cpu_seconds_total', 'Processor time used.', [], (set) => {
      const { user, system } = process.cpuUsage();
      set({}, (user + system) / 1e6);
    });
    const mostDescriptors = descriptorLimit();
    this.#gauge('process_open_descriptors', 'Open file descriptors.', [], (set) => {
      set(
        {},
        orLacking(() => readdirSync('/proc/self/fd').length, mostDescriptors),
      );
    });
    this.#gauge(
      'process_max_descriptors',
      'File descriptors that may be open at once.',
      [],
      (set) => set({}, mostDescriptors),
    );
  }
}

/** What /proc says, which takes a descriptor; where none is left, `otherwise`: all other numbers can be told, and that is when they are asked for. */
function orLacking(read: () => number, otherwise: number): number {
  try {
    return read();
  } catch (error) {
    if (!['EMFILE', 'ENFILE'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return otherwise;
  }
}

/** As /proc says it (`ulimit -n`); NaN where that can't be read. */
function descriptorLimit(): number {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    return Number(/^Max open files +(\d+)/m.exec(limits)?.[1]);
  } catch {
    return Number.NaN;
  }
}
