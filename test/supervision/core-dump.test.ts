/** What VMs send stays out of a core file: wherever it lies in the daemon's memory, the kernel would leave that out (MADV_DONTDUMP). */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from '../support/packets.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import { World } from '../support/world.ts';

interface Mapping {
  name: string;
  start: number;
  end: number;
  flags: string[];
}

function mappings(pid: number): Mapping[] {
  const found: Mapping[] = [];
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$/.exec(line);
    if (head !== null) {
      const [, start, end, mode, name] = head;
      found.push({
        name: `${mode} ${name}`,
        start: Number.parseInt(start, 16),
        end: Number.parseInt(end, 16),
        flags: [],
      });
    } else if (line.startsWith('VmFlags:')) found.at(-1)!.flags = line.split(' ').slice(1);
  }
  return found;
}

/** Whether the bytes stand anywhere in a mapping of a process. */
function holds(memory: number, { start, end }: Mapping, bytes: Buffer): boolean {
  const chunk = Buffer.alloc(1 << 20);
  for (let at = start; at < end; at += chunk.length - bytes.length) {
    let got = 0;
    try {
      got = readSync(memory, chunk, 0, Math.min(chunk.length, end - at), at);
    } catch {
      return false; // cannot be read, and so not be dumped
    }
    if (chunk.subarray(0, got).includes(bytes)) return true;
  }
  return false;
}

test.skipIf(process.getuid?.() !== 0)(
  `what VMs send is nowhere that a core file has${process.getuid?.() === 0 ? '' : ' (needs root to look)'}`,
  async () => {
    const world = await World.start();
    try {
      const [a, b] = [await world.vm('a'), await world.vm('b')];
      const secret = Buffer.from(`secret ${Math.random()} ${Math.random()} ${Math.random()}`);
      await a.send(udpFrame(A, B.ip, secret));
      expect(parse((await b.receive()).frame).udp!.payload.equals(secret)).toBe(true);
      const { pid } = world.daemon;
      const memory = openSync(`/proc/${pid}/mem`, 'r');
      const holders = mappings(pid).filter(
        (mapping) => mapping.name.startsWith('r') && holds(memory, mapping, secret),
      );
      closeSync(memory);
      // In both VMs' memory and in base storage.
      expect(holders.filter(({ name }) => name.includes('guest-memory')).length).toBeGreaterThan(1);
      expect(holders.some(({ name }) => !name.includes('guest-memory'))).toBe(true);
      expect(holders.filter(({ flags }) => !flags.includes('dd')).map(({ name }) => name)).toEqual(
        [],
      );
    } finally {
      await world.close();
    }
  },
);
