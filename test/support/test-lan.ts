/**
 * A LAN for tests: two network namespaces with a cable between them. In `host` runs the daemon, whose adapter's interface is bw0; in
 * `lan` stands a host with an address and a UDP echo. Named after this process and taken away in `close`.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { until } from './until.ts';

export const LAN_IP = '10.77.0.254';
export const ECHO_PORT = 7;

/** Sends back what it gets; then sends every line of its standard input ("address port text") as a datagram. */
const ECHO = `
const socket = require('dgram').createSocket('udp4');
socket.on('message', (text, from) => socket.send(text, from.port, from.address));
socket.bind(${ECHO_PORT}, '${LAN_IP}', () => console.log('ready'));
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const [address, port, ...text] = line.split(' ');
  socket.send(text.join(' '), Number(port), address);
});
`;

let serial = 0;

export class TestLan {
  readonly host: string;
  readonly lan: string;
  #echo: ChildProcess | null = null;

  private constructor(name: string) {
    this.host = `${name}-host`;
    this.lan = `${name}-lan`;
  }

  /** Why there can be none here, or ''. */
  static lacking(): string {
    const name = `bw-${process.pid}-probe`;
    try {
      run('ip', 'netns', 'add', name);
      run('ip', '-n', name, 'link', 'add', 'bw0', 'type', 'veth', 'peer', 'name', 'bw1');
      return '';
    } catch (error) {
      const { stderr } = error as { stderr?: Buffer };
      return `no network namespaces with a veth pair: ${stderr?.toString().trim() || error}`;
    } finally {
      tryRun('ip', 'netns', 'del', name);
    }
  }

  static async start(): Promise<TestLan> {
    const lan = new TestLan(`bw-${process.pid}-${++serial}`);
    try {
      for (const name of [lan.host, lan.lan]) {
        run('ip', 'netns', 'add', name);
        run('ip', '-n', name, 'link', 'set', 'lo', 'up');
      }
      lan.plug();
      await lan.#startEcho();
      return lan;
    } catch (error) {
      await lan.close();
      throw error;
    }
  }

  /** Words in front of a command that is to run where the adapter's interface is. */
  get under(): string[] {
    return ['ip', 'netns', 'exec', this.host];
  }

  /** Lays the cable; both ends up. */
  plug(): void {
    const peer = ['peer', 'name', 'bw1', 'netns', this.lan];
    run('ip', 'link', 'add', 'bw0', 'netns', this.host, 'type', 'veth', ...peer);
    run('ip', '-n', this.lan, 'addr', 'add', `${LAN_IP}/24`, 'dev', 'bw1');
    run('ip', '-n', this.lan, 'link', 'set', 'bw1', 'up');
    run('ip', '-n', this.host, 'link', 'set', 'bw0', 'up');
  }

  /** `ip link …` where the adapter's interface is. */
  link(...words: string[]): void {
    run('ip', '-n', this.host, 'link', ...words);
  }

  /** Has the LAN's host send a datagram of text. */
  send(address: string, port: number, text: string): void {
    this.#echo!.stdin!.write(`${address} ${port} ${text}\n`);
  }

  async #startEcho(): Promise<void> {
    const words = ['netns', 'exec', this.lan, process.execPath, '-e', ECHO];
    const echo = spawn('ip', words, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#echo = echo;
    let ready = false;
    echo.stdout.on('data', () => {
      ready = true;
    });
    await until('the LAN’s echo', () => ready, 25_000);
  }

  async close(): Promise<void> {
    const echo = this.#echo;
    if (echo !== null) {
      echo.kill('SIGKILL');
      await until(
        'the LAN’s echo to end',
        () => echo.exitCode !== null || echo.signalCode !== null,
      );
    }
    for (const name of [this.host, this.lan]) tryRun('ip', 'netns', 'del', name);
  }
}

function run(command: string, ...words: string[]): void {
  execFileSync(command, words, { stdio: 'pipe' });
}

/** For clearing up what may not be there. */
function tryRun(command: string, ...words: string[]): void {
  try {
    run(command, ...words);
  } catch {
    // Not there.
  }
}
