// The LAN's host as tests and the demo use it: its services (lan-host.mjs), and requests from it.

import { fileURLToPath } from 'node:url';
import type { Lan } from './lan.ts';
import type { Process } from './process.ts';
import { until } from './wait.ts';

const PROGRAM = fileURLToPath(new URL('lan-host.mjs', import.meta.url));

/** One thing that a service of the LAN's host did. */
export interface Served {
  ready?: boolean;
  received?: number;
  sent?: number;
  sha256?: string;
}

/** What `send` gives. */
export interface Sent {
  sent: number;
  sha256: string;
  answer: string;
  seconds: number;
}

/** The services on the LAN's host, and what is asked of guests from there. */
export class LanHost {
  readonly lan: Lan;
  readonly #services: Process;

  private constructor(lan: Lan, services: Process) {
    this.lan = lan;
    this.#services = services;
  }

  /** Starts the services; resolves when they answer. */
  static async start(lan: Lan): Promise<LanHost> {
    const services = lan.start('services of the LAN', process.execPath, PROGRAM, 'serve');
    const host = new LanHost(lan, services);
    await until('the services of the LAN', 15_000, () => {
      if (services.status !== undefined) throw new Error(services.output);
      return host.served().some((entry) => entry.ready);
    });
    return host;
  }

  /** What the services did so far, oldest first. */
  served(): Served[] {
    const lines = this.#services.output.split('\n').filter((line) => line.startsWith('{'));
    return lines.map((line) => JSON.parse(line) as Served);
  }

  /** Sends random bytes to a TCP port and reads the answer. */
  async send(address: string, port: number, bytes: number): Promise<Sent> {
    return (await this.#ask('send', address, `${port}`, `${bytes}`)) as Sent;
  }

  /** Reads the web page of a guest. */
  async page(address: string): Promise<string> {
    return ((await this.#ask('page', address)) as { body: string }).body;
  }

  async #ask(...args: string[]): Promise<unknown> {
    const client = this.lan.start(args.join(' '), process.execPath, PROGRAM, ...args);
    const status = await client.ended;
    if (status !== 0) throw new Error(`the LAN's host: ${args.join(' ')}: ${client.output}`);
    return JSON.parse(client.output);
  }

  stop(): Promise<number | string> {
    return this.#services.stop();
  }
}
