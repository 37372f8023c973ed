// A LAN for tests and the demo, in two network namespaces of our own that nothing else sees:
//
//     namespace of the base: uplink0 ---- veth ---- eth0: namespace of the LAN, 10.77.0.254
//
// The base opens `uplink0` (AF_PACKET); the LAN's host is the kernel's own stack at the far end.
// Needs root. Names carry our pid; what a killed predecessor left behind is removed first.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { atEnd } from './cleanup.ts';
import { paths } from './paths.ts';
import { Process } from './process.ts';

/** The adapter interface's name, in the base's namespace. */
export const ADAPTER_INTERFACE = 'uplink0';

let made = 0;

/** The LAN; exists until `remove` or our end. */
export class Lan {
  readonly address: string;
  readonly #base: string;
  readonly #far: string;
  readonly #undo: () => void;

  /** @param address of the LAN's host, with its prefix length */
  constructor(address = '10.77.0.254/24') {
    removeLeftovers();
    this.address = address.replace(/\/.*/, '');
    const number = ++made;
    this.#base = `bw${process.pid}base${number}`;
    this.#far = `bw${process.pid}lan${number}`;
    this.#undo = atEnd(() => {
      for (const name of [this.#base, this.#far]) spawnSync('ip', ['netns', 'del', name]);
    });
    for (const name of [this.#base, this.#far]) {
      ip('netns', 'add', name);
      // IPv6's own chatter would only disturb what is counted.
      this.#in(name, ['sh', '-c', 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; true']);
      ip('-n', name, 'link', 'set', 'lo', 'up');
    }
    const far = ['peer', 'name', 'eth0', 'netns', this.#far];
    ip('-n', this.#base, 'link', 'add', ADAPTER_INTERFACE, 'type', 'veth', ...far);
    ip('-n', this.#far, 'addr', 'add', address, 'dev', 'eth0');
    ip('-n', this.#far, 'link', 'set', 'eth0', 'up');
    ip('-n', this.#base, 'link', 'set', ADAPTER_INTERFACE, 'up');
  }

  /** What to put before a command so that it runs in the base's namespace. */
  get underBase(): string[] {
    return ['ip', 'netns', 'exec', this.#base];
  }

  /** What to put before a command so that it runs on the LAN's host. */
  get underHost(): string[] {
    return ['ip', 'netns', 'exec', this.#far];
  }

  /** Runs `ip` in the base's namespace, such as ['link', 'set', 'uplink0', 'down']. */
  ipAtBase(...args: string[]): string {
    return ip('-n', this.#base, ...args);
  }

  /** Starts a program on the LAN's host. */
  start(name: string, program: string, ...args: string[]): Process {
    const [command = 'ip', ...rest] = [...this.underHost, program, ...args];
    return new Process(name, command, rest);
  }

  /** Starts one of busybox's programs on the LAN's host. */
  busybox(program: string, ...args: string[]): Process {
    return this.start(program, paths.busybox, program, ...args);
  }

  /** Frames that have reached the LAN's host. */
  framesReceived(): number {
    const text = ip('-n', this.#far, '-s', '-j', 'link', 'show', 'dev', 'eth0');
    const [link] = JSON.parse(text) as [{ stats64: { rx: { packets: number } } }];
    return link.stats64.rx.packets;
  }

  remove(): void {
    this.#undo();
  }

  #in(namespace: string, command: string[]): void {
    execFileSync('ip', ['netns', 'exec', namespace, ...command], { stdio: 'pipe' });
  }
}

function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Removes namespaces of processes like us that no longer live. */
function removeLeftovers(): void {
  for (const line of ip('netns', 'list').split('\n')) {
    const match = /^(bw(\d+)(?:base|lan)\d+)\b/.exec(line);
    if (match?.[1] && !existsSync(`/proc/${match[2]}`)) ip('netns', 'del', match[1]);
  }
}
