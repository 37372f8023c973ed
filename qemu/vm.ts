// A guest under QEMU (TCG, so that it runs anywhere): starts it, drives it, restarts it, ends it.
// Its network device is whatever arguments it is given; `attachment.ts` makes those for a base.

import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { atEnd } from './cleanup.ts';
import { Agent, type Result, SerialLine } from './console.ts';
import { paths } from './paths.ts';
import { Process } from './process.ts';
import { Qmp } from './qmp.ts';
import type { Qemu } from './qemu.ts';
import { within } from './wait.ts';

const REBOOT_DEADLINE = 220_000;

/** What makes a guest. */
export interface VmOptions {
  name: string;
  qemu: Qemu;
  /** A folder for its sockets, made if it lacks; short, since socket paths are. */
  folder: string;
  /** QEMU's arguments for memory and network device. */
  attachment: string[];
  /** Settings on the kernel's command line, read by the guest's `boot`: `bw.KEY=VALUE`. */
  settings: Record<string, string>;
  /** The root file system's archive; the builder's unless told. */
  initrd?: string | undefined;
}

/** A guest, from `start` to `stop`; may be started again after `kill`. */
export class Vm {
  readonly name: string;
  readonly options: VmOptions;
  #process: Process | undefined;
  #console: SerialLine | undefined;
  #agentLine: SerialLine | undefined;
  #agent: Agent | undefined;
  #qmp: Qmp | undefined;

  constructor(options: VmOptions) {
    this.name = options.name;
    this.options = options;
    mkdirSync(options.folder, { recursive: true });
    atEnd(() => {
      for (const line of ['console', 'agent', 'qmp']) rmSync(this.#path(line), { force: true });
    });
  }

  /** The arguments that QEMU is started with. */
  get arguments(): string[] {
    const { qemu, attachment, settings, initrd = paths.initrd } = this.options;
    const own = Object.entries(settings).map(([key, value]) => `bw.${key}=${value}`);
    const kernel = ['console=ttyS0', 'quiet', 'panic=-1', 'mitigations=off', 'nokaslr', ...own];
    return [
      ...['-name', this.name, '-accel', 'tcg', '-smp', '1', ...qemu.data],
      ...['-nodefaults', '-no-user-config', '-display', 'none'],
      ...['-kernel', paths.kernel, '-initrd', initrd, '-append', kernel.join(' ')],
      ...['console', 'agent'].flatMap((line) => [
        ...['-chardev', `socket,id=${line},path=${this.#path(line)}`, '-serial', `chardev:${line}`],
      ]),
      ...[
        '-chardev',
        `socket,id=qmp,path=${this.#path('qmp')}`,
        '-mon',
        'chardev=qmp,mode=control',
      ],
      ...attachment,
    ];
  }

  /** Starts QEMU; resolves when the guest is up. */
  async start(): Promise<void> {
    await this.launch();
    await this.booted();
  }

  /** Starts QEMU; resolves when its monitor answers, long before the guest is up. */
  async launch(): Promise<void> {
    if (this.running) throw new Error(`${this.name} runs already`);
    this.#closeLines();
    this.#console = new SerialLine(this.#path('console'));
    this.#agentLine = new SerialLine(this.#path('agent'));
    this.#agent = new Agent(this.name, this.#agentLine);
    this.#qmp = new Qmp(this.#path('qmp'));
    await Promise.all([this.#console.listen(), this.#agentLine.listen(), this.#qmp.listen()]);
    this.#process = new Process(this.name, this.options.qemu.program, this.arguments);
    await this.#alive('its monitor', 30_000, this.#qmp.ready);
  }

  /** Resolves when the guest has come up `boots` times since `launch`. */
  booted(boots = 1, deadline = 240_000): Promise<void> {
    return this.#alive('its boot', deadline, this.agent.booted(boots, deadline));
  }

  get agent(): Agent {
    if (!this.#agent) throw new Error(`${this.name} was not started`);
    return this.#agent;
  }

  get console(): SerialLine {
    if (!this.#console) throw new Error(`${this.name} was not started`);
    return this.#console;
  }

  get qmp(): Qmp {
    if (!this.#qmp) throw new Error(`${this.name} was not started`);
    return this.#qmp;
  }

  get running(): boolean {
    return this.#process !== undefined && this.#process.status === undefined;
  }

  /** Process id of QEMU. */
  get pid(): number {
    return this.#process?.pid ?? -1;
  }

  /** Runs a script in the guest (see Agent.run). */
  run(script: string, limit?: number): Promise<Result> {
    return this.#alive(`running: ${script}`, 600_000, this.agent.run(script, limit));
  }

  /** Runs a script in the guest that must succeed; @returns its output without outer blanks */
  async ok(script: string, limit?: number): Promise<string> {
    const { output, status } = await this.run(script, limit);
    if (status === 0) return output.trim();
    throw new Error(`${this.name}: status ${status} of: ${script}\n${output.trim()}`);
  }

  /**
   * Reboots the guest from within; resolves when it is up again. QEMU goes on. (QEMU 7.2 takes ten
   * seconds of processor time to forget the code that it had translated, so the deadline is long.)
   */
  async reboot(): Promise<void> {
    const before = this.agent.boots;
    const down = this.agent.run('reboot -f').catch(() => {});
    await this.booted(before + 1, REBOOT_DEADLINE);
    await down;
  }

  /** Ends QEMU at once, as a crash would. */
  async kill(): Promise<void> {
    await this.#process?.stop('SIGKILL');
  }

  /** Ends QEMU and everything about it. */
  async stop(): Promise<void> {
    await this.#process?.stop('SIGTERM');
    this.#closeLines();
  }

  /** What there is to see when something failed. */
  transcript(): string {
    const lines = this.#console?.kept.split('\n').slice(-30).join('\n') ?? '';
    return `--- console of ${this.name}\n${lines}\n--- QEMU\n${this.#process?.output ?? ''}`;
  }

  /** `promise`, unless QEMU ends or the deadline passes before; then an error with the transcript. */
  async #alive<T>(what: string, deadline: number, promise: Promise<T>): Promise<T> {
    const process = this.#process;
    if (!process) throw new Error(`${this.name} was not started`);
    promise.catch(() => {});
    const death = process.ended.then((status) => {
      throw new Error(`QEMU of ${this.name} ended (${status})`);
    });
    try {
      return await within(`${this.name}: ${what}`, deadline, Promise.race([promise, death]));
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.transcript()}`);
    }
  }

  #closeLines(): void {
    this.#console?.close();
    this.#agentLine?.close();
    this.#qmp?.close();
  }

  #path(line: string): string {
    return join(this.options.folder, `${this.name}.${line}`);
  }
}
