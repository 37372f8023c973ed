/**
 * A wire of our own: two network namespaces joined by a veth pair, one end for the switch, the other for the LAN's host.
 *
 *     namespace "near": uplink0 ---- veth ---- far0: namespace "far", 10.77.0.254
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { Lab } from './lab.ts';
import { Child, prioritiseThread } from './process.ts';

export const FAR_ADDRESS = '10.77.0.254';

/** A namespace in which nothing is, until the row ends or it is asked for again; its name, which ends in `suffix`. */
export function emptyNamespace(lab: Lab, suffix: string): string {
  const name = `${lab.unique}${suffix}`;
  removeNamespace(name);
  ip('netns', 'add', name);
  lab.atEnd(() => removeNamespace(name));
  return name;
}

/** If there is one of that name. */
function removeNamespace(name: string): void {
  if (existsSync(`/run/netns/${name}`)) ip('netns', 'del', name);
}

export class Wire {
  readonly near: string;
  readonly far: string;
  readonly nearInterface = 'uplink0';
  readonly farInterface = 'far0';
  /** Sits in the far namespace, so that its counts can be read from /proc. */
  private readonly keeper: Child;

  constructor(lab: Lab) {
    this.near = emptyNamespace(lab, 'n');
    this.far = emptyNamespace(lab, 'f');
    for (const name of [this.near, this.far]) {
      for (const which of ['all', 'default']) {
        inside(name, `echo 1 >/proc/sys/net/ipv6/conf/${which}/disable_ipv6 || true`);
      }
      ip('-n', name, 'link', 'set', 'lo', 'up');
    }
    ip(
      '-n',
      this.near,
      'link',
      'add',
      this.nearInterface,
      'type',
      'veth',
      'peer',
      'name',
      this.farInterface,
      'netns',
      this.far,
    );
    ip('-n', this.far, 'addr', 'add', `${FAR_ADDRESS}/24`, 'dev', this.farInterface);
    ip('-n', this.far, 'link', 'set', this.farInterface, 'up');
    ip('-n', this.near, 'link', 'set', this.nearInterface, 'up');
    this.keeper = new Child('keeper', 'sleep', ['86400'], { namespace: this.far });
  }

  mac(end: 'near' | 'far'): string {
    const [name, device] =
      end === 'near' ? [this.near, this.nearInterface] : [this.far, this.farInterface];
    const [link] = JSON.parse(ip('-n', name, '-j', 'link', 'show', device)) as {
      address: string;
    }[];
    return link!.address;
  }

  /**
   * The far host throws UDP away as it arrives, after it was counted. Left to itself it looks a route up for each datagram, finds none and
   * makes a note of it, all in the sender's system call: a third of the time that would be measured then is not the switch's.
   */
  dropAtFarEnd(): void {
    const rules = `add table netdev far
add chain netdev far arrived { type filter hook ingress device ${this.farInterface} priority 0; }
add rule netdev far arrived ip protocol udp drop
`;
    execFileSync('ip', ['netns', 'exec', this.far, 'nft', '-f', '-'], {
      input: rules,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
  }

  /** As with a network card that can't: the kernel cuts coupled UDP datagrams before they leave, so that the far end counts each. */
  cutUdpAtNearEnd(): void {
    inside(this.near, `ethtool -K ${this.nearInterface} tx-udp-segmentation off`);
  }

  /**
   * The near end receives like a network card: a thread of the kernel takes what has come meanwhile (NAPI), instead of the sender's own system call each frame
   * by itself; `coalescing`: it makes one frame of equal UDP datagrams that come in a row. False: as it was again. Returns those threads' ids.
   */
  receiveLikeACard(on: boolean, coalescing = false): number[] {
    const word = (value: boolean) => (value ? 'on' : 'off');
    const threaded = `/sys/class/net/${this.nearInterface}/threaded`;
    const features = `gro ${word(on)} rx-udp-gro-forwarding ${word(coalescing)}`;
    // Without GRO it has no thread that could be asked for, or sent home.
    if (!on) inside(this.near, `echo 0 >${threaded}`);
    inside(this.near, `ethtool -K ${this.nearInterface} ${features}`);
    const before = new Set(receiveThreads(this.nearInterface));
    if (on) inside(this.near, `echo 1 >${threaded}`);
    const threads = receiveThreads(this.nearInterface).filter((thread) => !before.has(thread));
    for (const thread of threads) prioritiseThread(thread);
    // A veth hands frames to the thread only where their sender could not have left segmentation to it.
    inside(this.far, `ethtool -K ${this.farInterface} tso ${word(!on)}`);
    return threads;
  }

  /** Datagrams that have arrived at the far end so far. */
  farReceived(): number {
    const line = readFileSync(`/proc/${this.keeper.pid}/net/dev`, 'utf8')
      .split('\n')
      .find((text) => text.trim().startsWith(`${this.farInterface}:`));
    return Number(line?.split(':')[1]?.trim().split(/\s+/)[1] ?? Number.NaN);
  }
}

/** Threads of the kernel that receive for interfaces of this name. */
function receiveThreads(name: string): number[] {
  const threads: number[] = [];
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const thread = readFileSync(`/proc/${entry}/comm`, 'utf8');
      if (thread.startsWith(`napi/${name}-`)) threads.push(Number(entry));
    } catch {
      // Ended meanwhile.
    }
  }
  return threads;
}

function ip(...args: string[]): string {
  return execFileSync('ip', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

function inside(namespace: string, script: string): void {
  execFileSync('ip', ['netns', 'exec', namespace, 'sh', '-c', script], { stdio: 'pipe' });
}
