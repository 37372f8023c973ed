/**
 * Run by sigbus.test.ts in a process of its own: `node --import tsx sigbus-child.ts <case>`. Shares a file, shrinks
 * it behind its own mapping, touches it, and prints what it saw as JSON.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, rmSync, writeSync } from 'node:fs';
import { native } from '../../src/native.ts';
import { runWorker } from './threads.ts';

const PAGE = 4096;
const path = `/dev/shm/basewire-sigbus-${process.pid}`;

/** A mapped file of /dev/shm (which can't be sealed), filled with ones. */
function share(bytes: number): { fd: number; region: number } {
  const fd = openSync(path, 'w+');
  rmSync(path);
  writeSync(fd, Buffer.alloc(bytes, 1));
  return { fd, region: native.mapRegion(fd, 0, bytes) };
}

function say(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

const cases: Record<string, () => void | Promise<void>> = {
  reads() {
    const { fd, region } = share(4 * PAGE);
    const bytes = new Uint8Array(native.viewRegion(region, 0, 4 * PAGE));
    const words = new Int32Array(bytes.buffer);
    const healthy = native.mapRegion(native.memfd('healthy', PAGE, true), 0, PAGE);
    native.truncate(fd, PAGE);
    const before = native.faults[0];
    const plain = bytes[2 * PAGE + 5];
    const atomic = Atomics.load(words, (3 * PAGE) / 4);
    Atomics.add(words, PAGE / 4, 5);
    bytes[2 * PAGE] = 77;
    say({
      before,
      plain,
      atomic,
      written: [words[PAGE / 4], bytes[2 * PAGE]],
      kept: bytes[PAGE - 1],
      regions: native.faults[0],
      reported: native.takeFaultedRegions().map((handle) => handle === region),
      again: native.takeFaultedRegions(),
      healthy: native.viewRegion(healthy, 0, PAGE).byteLength,
    });
    native.unmapRegion(region);
    const next = native.mapRegion(native.memfd('next', PAGE, true), 0, PAGE);
    say({ sameHandle: next === region, reported: native.takeFaultedRegions() });
  },

  copies() {
    const { fd, region } = share(64 * PAGE);
    const { arena, rows } = native.createArena(64 * PAGE, 8);
    const offsets = new Float64Array(rows);
    const cells = new Int32Array(rows);
    const row = (index: number, offset: number, at: number, length: number) => {
      offsets[index * 3] = offset;
      cells.set([region, at, length], index * 6 + 2);
    };
    native.truncate(fd, PAGE);
    new Uint8Array(arena).fill(9);
    row(0, PAGE - 100, 0, 200);
    row(1, 0, 1000, 50);
    row(2, 10 * PAGE, 2000, 20 * PAGE);
    const gathered = native.gatherCopies(3);
    const bytes = new Uint8Array(arena);
    say({
      gathered,
      edge: [bytes[99], bytes[100], bytes[199]],
      good: bytes[1000],
      gone: [bytes[2000], bytes[2000 + 20 * PAGE - 1]],
    });
    row(0, 40 * PAGE, 0, 3 * PAGE);
    say({ delivered: native.deliverCopies(1), reported: native.takeFaultedRegions().length });
  },

  /** More faults than one region may have mappings for (vm.max_map_count): every second page. */
  many() {
    const pages = 140_000;
    const fd = openSync(path, 'w+');
    rmSync(path);
    native.truncate(fd, pages * PAGE);
    const region = native.mapRegion(fd, 0, pages * PAGE);
    const bytes = new Uint8Array(native.viewRegion(region, 0, pages * PAGE));
    native.truncate(fd, 0);
    let sum = 0;
    for (let page = 0; page < pages; page += 2) sum += bytes[page * PAGE];
    say({ sum, regions: native.faults[0] });
  },

  /** The same in many regions, none of which has so many faults. */
  spread() {
    const [regions, pages] = [40, 2048];
    let sum = 0;
    for (let round = 0; round < 3; round++) {
      const fd = openSync(path, 'w+');
      rmSync(path);
      native.truncate(fd, regions * pages * PAGE);
      const handles = Array.from({ length: regions }, (_, index) =>
        native.mapRegion(fd, index * pages * PAGE, pages * PAGE, 1),
      );
      native.truncate(fd, 0);
      for (const handle of handles) {
        const bytes = new Uint8Array(native.viewRegion(handle, 0, pages * PAGE));
        for (let page = 0; page < pages; page += 2) sum += bytes[page * PAGE];
      }
      for (const handle of handles) native.unmapRegion(handle);
      closeSync(fd);
    }
    say({ sum, regions: native.faults[0] });
  },

  async worker() {
    const answer = await runWorker(
      `const fs = require('node:fs');
       const fd = fs.openSync('${path}', 'w+');
       fs.rmSync('${path}');
       fs.writeSync(fd, Buffer.alloc(8192, 1));
       const region = native.mapRegion(fd, 0, 8192);
       const bytes = new Uint8Array(native.viewRegion(region, 0, 8192));
       native.truncate(fd, 0);
       const read = bytes[5000];
       parentPort.postMessage({ read, reported: native.takeFaultedRegions().length });`,
      null,
    );
    // The worker is gone and so is its region; the count is the process's.
    say({ answer, regions: native.faults[0], ours: native.takeFaultedRegions() });
    // The handler must have survived the worker that installed it.
    const { fd, region } = share(PAGE);
    native.truncate(fd, 0);
    say({ read: new Uint8Array(native.viewRegion(region, 0, PAGE))[0] });
  },

  /** SIGBUS that is none of ours must still end the process. */
  stranger() {
    share(PAGE);
    say('alive');
    process.kill(process.pid, 'SIGBUS');
    execFileSync('sleep', ['5']);
    say('still alive');
  },

  /** A descriptor closed and a view kept: nothing to see, but nothing to crash either. */
  detached() {
    const { fd, region } = share(2 * PAGE);
    const bytes = new Uint8Array(native.viewRegion(region, 0, 2 * PAGE));
    native.truncate(fd, 0);
    const read = bytes[PAGE];
    native.unmapRegion(region);
    closeSync(fd);
    say({ read, after: bytes.length });
  },
};

await cases[process.argv[2]]();
