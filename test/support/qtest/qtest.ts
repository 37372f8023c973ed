/**
 * A real QEMU as front-end with a guest that has no kernel: its processor halts in the firmware, and the test plays the guest's
 * driver through QEMU's qtest protocol (one line per access: ports, memory, and so the device's registers and rings).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { within } from '../../../qemu/wait.ts';
import { until } from '../until.ts';

export const RAM_BYTES = 64 << 20;

export class Qtest {
  readonly folder = mkdtempSync(join(tmpdir(), 'basewire-qtest-'));
  #server: Server;
  #socket: Socket | null = null;
  #child: ChildProcess | null = null;
  #ended = false;
  #output = '';
  #lines: string[] = [];
  #rest = '';

  private constructor() {
    this.#server = createServer((socket) => {
      this.#socket = socket;
      socket.on('error', () => {});
      socket.setEncoding('latin1').on('data', (text: string) => {
        const pieces = (this.#rest + text).split('\n');
        this.#rest = pieces.pop()!;
        this.#lines.push(...pieces);
      });
    });
  }

  /** Starts QEMU with a virtio-net device in slot 4 whose back-end listens at `socket`. */
  static async start(program: string, socket: string, mac: string, device = ''): Promise<Qtest> {
    const qtest = new Qtest();
    try {
      await qtest.#start(program, socket, mac, device);
    } catch (error) {
      await qtest.stop();
      throw error;
    }
    return qtest;
  }

  async #start(program: string, socket: string, mac: string, device: string): Promise<void> {
    const path = join(this.folder, 'qtest.sock');
    const firmware = join(this.folder, 'halt.bin');
    const image = Buffer.alloc(65536);
    image.set([0xfa, 0xf4, 0xeb, 0xfd], 0xfff0); // cli; hlt; jmp back
    writeFileSync(firmware, image);
    await new Promise<void>((resolve) => this.#server.listen(path, resolve));
    this.#child = spawn(
      program,
      [
        ...[
          '-accel',
          'tcg',
          '-bios',
          firmware,
          '-qtest',
          `unix:${path}`,
          '-qtest-log',
          '/dev/null',
        ],
        ...['-nodefaults', '-display', 'none', '-m', '64M', '-machine', 'q35,memory-backend=m'],
        ...['-object', 'memory-backend-memfd,id=m,size=64M,share=on'],
        ...['-chardev', `socket,id=c,path=${socket}`, '-netdev', 'vhost-user,id=n,chardev=c'],
        ...[
          '-device',
          `virtio-net-pci,netdev=n,addr=04.0,disable-legacy=on,vectors=0,mac=${mac}${device}`,
        ],
      ],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    );
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.on('data', (data: Buffer) => {
        this.#output = (this.#output + data).slice(-4000);
      });
    }
    this.#child.on('exit', () => {
      this.#ended = true;
    });
    await until('QEMU to connect its qtest socket', () => {
      if (this.#ended) throw new Error(`QEMU ended: ${this.#output}`);
      return this.#socket !== null;
    });
  }

  /** One command; the words of the answer behind OK. */
  async #command(text: string): Promise<string[]> {
    this.#socket!.write(`${text}\n`);
    const line = await within(
      `an answer to ${text.slice(0, 40)}`,
      10_000,
      until('an answer', () => {
        if (this.#ended) throw new Error(`QEMU ended: ${this.#output}`);
        const at = this.#lines.findIndex((candidate) => /^(OK|FAIL|ERR)/.test(candidate));
        if (at < 0) return null;
        return this.#lines.splice(0, at + 1).at(-1)!;
      }),
    );
    const [outcome, ...words] = line.split(' ');
    if (outcome !== 'OK') throw new Error(`qtest ${text.slice(0, 60)}: ${line}`);
    return words;
  }

  async out32(port: number, value: number): Promise<void> {
    await this.#command(`outl 0x${port.toString(16)} 0x${(value >>> 0).toString(16)}`);
  }

  async in32(port: number): Promise<number> {
    return Number((await this.#command(`inl 0x${port.toString(16)}`))[0]);
  }

  async read(address: number, bytes: number): Promise<Buffer> {
    const [hex] = await this.#command(`read 0x${address.toString(16)} 0x${bytes.toString(16)}`);
    return Buffer.from(hex.slice(2), 'hex');
  }

  async write(address: number, bytes: Uint8Array): Promise<void> {
    const hex = Buffer.from(bytes).toString('hex');
    await this.#command(`write 0x${address.toString(16)} 0x${bytes.length.toString(16)} 0x${hex}`);
  }

  /** Register access of 1, 2 or 4 bytes. */
  async set(address: number, bytes: 1 | 2 | 4, value: number): Promise<void> {
    const kind = { 1: 'b', 2: 'w', 4: 'l' }[bytes];
    await this.#command(`write${kind} 0x${address.toString(16)} 0x${(value >>> 0).toString(16)}`);
  }

  async get(address: number, bytes: 1 | 2 | 4): Promise<number> {
    const kind = { 1: 'b', 2: 'w', 4: 'l' }[bytes];
    return Number((await this.#command(`read${kind} 0x${address.toString(16)}`))[0]);
  }

  async stop(): Promise<void> {
    if (this.#child && !this.#ended) this.#child.kill('SIGKILL');
    if (this.#child) await until('QEMU to be gone', () => this.#ended);
    this.#socket?.destroy();
    this.#server.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
