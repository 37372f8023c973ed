/**
 * The least driver of a modern virtio-net PCI device (virtio 1.3 §4.1), played through qtest: enough to start its
 * rings and to put anything at all into them.
 */
import { Qtest } from './qtest.ts';

const CONFIG_ADDRESS = 0xcf8;
const CONFIG_DATA = 0xcfc;
const SLOT = 4;
const BAR_AT = 0xe000_0000;
const VENDOR_CAPABILITY = 9;
const COMMON = 1;
const NOTIFY = 2;

const ACKNOWLEDGE = 1;
const DRIVER = 2;
const DRIVER_OK = 4;
const FEATURES_OK = 8;

/** Output queue (transmitq). */
export const OUTPUT = 1;
export const SIZE = 256;
/** Where the output ring and its buffers lie in guest memory. */
export const DESCRIPTORS = 0x20_0000;
export const AVAIL = 0x21_0000;
export const USED = 0x22_0000;
export const BUFFERS = 0x30_0000;
const INPUT_RING = 0x24_0000;

export interface Descriptor {
  address: bigint | number;
  length: number;
  flags?: number;
  next?: number;
}

export function descriptorBytes({ address, length, flags = 0, next = 0 }: Descriptor): Buffer {
  const bytes = Buffer.alloc(16);
  bytes.writeBigUInt64LE(BigInt(address), 0);
  bytes.writeUInt32LE(length, 8);
  bytes.writeUInt16LE(flags, 12);
  bytes.writeUInt16LE(next, 14);
  return bytes;
}

export class VirtioGuest {
  readonly qtest: Qtest;
  #common = 0;
  #notify = 0;
  #multiplier = 0;
  #avail = 0;

  private constructor(qtest: Qtest) {
    this.qtest = qtest;
  }

  /** QEMU, its device found and driven to DRIVER_OK with both rings of the first pair set up. */
  static async start(program: string, socket: string, mac: string): Promise<VirtioGuest> {
    const guest = new VirtioGuest(await Qtest.start(program, socket, mac));
    try {
      await guest.#findDevice();
      await guest.reset();
    } catch (error) {
      await guest.stop();
      throw error;
    }
    return guest;
  }

  stop(): Promise<void> {
    return this.qtest.stop();
  }

  /** Resets the device and starts it anew, rings empty: what a rebooting guest does. */
  async reset(): Promise<void> {
    const { qtest } = this;
    await qtest.set(this.#common + 20, 1, 0);
    for (const at of [INPUT_RING, DESCRIPTORS]) await qtest.write(at, new Uint8Array(SIZE * 16));
    await qtest.write(AVAIL, new Uint8Array(4096));
    await qtest.write(USED, new Uint8Array(4096));
    await qtest.write(INPUT_RING + 0x4000, new Uint8Array(8192));
    this.#avail = 0;
    await qtest.set(this.#common + 20, 1, ACKNOWLEDGE);
    await qtest.set(this.#common + 20, 1, ACKNOWLEDGE | DRIVER);
    await qtest.set(this.#common + 8, 4, 0);
    await qtest.set(this.#common + 12, 4, 0x1000_0000); // INDIRECT_DESC
    await qtest.set(this.#common + 8, 4, 1);
    await qtest.set(this.#common + 12, 4, 1); // VERSION_1
    await qtest.set(this.#common + 20, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK);
    await this.#setQueue(0, INPUT_RING, INPUT_RING + 0x4000, INPUT_RING + 0x5000);
    await this.#setQueue(OUTPUT, DESCRIPTORS, AVAIL, USED);
    await qtest.set(this.#common + 20, 1, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
  }

  async #setQueue(index: number, descriptors: number, avail: number, used: number): Promise<void> {
    const { qtest } = this;
    await qtest.set(this.#common + 22, 2, index);
    await qtest.set(this.#common + 24, 2, SIZE);
    for (const [offset, address] of [
      [32, descriptors],
      [40, avail],
      [48, used],
    ]) {
      await qtest.set(this.#common + offset, 4, address);
      await qtest.set(this.#common + offset + 4, 4, 0);
    }
    await qtest.set(this.#common + 28, 2, 1);
  }

  /** Puts heads into the avail ring, moves its index by `heads.length + jump`, and kicks. */
  async offer(heads: number[], jump = 0): Promise<void> {
    const entry = Buffer.alloc(2);
    for (const head of heads) {
      entry.writeUInt16LE(head);
      await this.qtest.write(AVAIL + 4 + (this.#avail % SIZE) * 2, entry);
      this.#avail++;
    }
    entry.writeUInt16LE((this.#avail + jump) & 0xffff);
    await this.qtest.write(AVAIL + 2, entry);
    await this.qtest.set(this.#notify + OUTPUT * this.#multiplier, 2, OUTPUT);
  }

  async used(): Promise<number> {
    return (await this.qtest.read(USED + 2, 2)).readUInt16LE();
  }

  async setDescriptor(index: number, descriptor: Descriptor): Promise<void> {
    await this.qtest.write(DESCRIPTORS + index * 16, descriptorBytes(descriptor));
  }

  async #config(register: number): Promise<number> {
    await this.qtest.out32(CONFIG_ADDRESS, 0x8000_0000 | (SLOT << 11) | register);
    return this.qtest.in32(CONFIG_DATA);
  }

  async #setConfig(register: number, value: number): Promise<void> {
    await this.qtest.out32(CONFIG_ADDRESS, 0x8000_0000 | (SLOT << 11) | register);
    await this.qtest.out32(CONFIG_DATA, value);
  }

  async #findDevice(): Promise<void> {
    if (((await this.#config(0)) & 0xffff) !== 0x1af4)
      throw new Error('no virtio device in slot 4');
    let bar = -1;
    const offsets = new Map<number, number>();
    let at = (await this.#config(0x34)) & 0xff;
    for (let steps = 0; at !== 0 && steps < 48; steps++) {
      const head = await this.#config(at);
      const type = head >>> 24;
      if ((head & 0xff) === VENDOR_CAPABILITY && (type === COMMON || type === NOTIFY)) {
        bar = (await this.#config(at + 4)) & 0xff;
        offsets.set(type, await this.#config(at + 8));
        if (type === NOTIFY) this.#multiplier = await this.#config(at + 16);
      }
      at = (head >>> 8) & 0xff;
    }
    await this.#setConfig(0x10 + bar * 4, BAR_AT);
    await this.#setConfig(0x10 + bar * 4 + 4, 0);
    await this.#setConfig(4, ((await this.#config(4)) & 0xffff) | 6); // memory space, bus master
    this.#common = BAR_AT + offsets.get(COMMON)!;
    this.#notify = BAR_AT + offsets.get(NOTIFY)!;
  }
}
