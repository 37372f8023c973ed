// Guest memory of every kind: plugged and unplugged under traffic, more than 4 GiB of it (so that
// buffers have addresses beyond 32 bits), huge pages.

import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from 'vitest';
import { bufferAddresses } from '../../qemu/guest-rings.ts';
import { plugMemory, unplugMemory, useMemory } from '../../qemu/hotplug.ts';
import { newerQemu, type Qemu, systemQemu } from '../../qemu/qemu.ts';
import { Site } from '../../qemu/site.ts';
import { Stream } from '../../qemu/stream.ts';
import { randomData, sendData } from '../../qemu/transfer.ts';
import { until } from '../../qemu/wait.ts';
import type { Vm } from '../../qemu/vm.ts';
import { isRoot } from '../../scripts/packages.mjs';
import { LONG } from '../support/random.ts';
import { balanced } from './books.ts';
import { type Need, suite } from './suite.ts';

const GIB = 2 ** 30;
const MIB = 2 ** 20;
const MEGABYTES = 5;
/** Of 2 MiB each: the memory of one guest. */
const HUGE_PAGES = 128;
const HUGE = '/proc/sys/vm/nr_hugepages';

memory('guest memory of every kind', ['guests'], systemQemu());
if (LONG) memory('guest memory of every kind, newer QEMU', ['guests', 'newerQemu'], newerQemu());

function memory(title: string, needs: Need[], qemu: Qemu | undefined): void {
  suite(title, needs, (can) => {
    let site: Site;
    let giveBack: () => void = () => {};

    beforeAll(async () => {
      if (!can || !qemu) return;
      site = await Site.start({
        qemu,
        guests: {
          web: { number: 11, arguments: ['-m', 'slots=4,maxmem=2G'] },
          // Nearly all of it is never touched, and costs nothing.
          large: { number: 12, memory: 5120 },
          huge: { number: 13, memoryBackend: ['hugetlb=on', 'hugetlbsize=2M'] },
        },
      });
      await site.boot('web', 'large');
    }, 300_000);

    afterAll(async () => {
      await site?.stop();
      giveBack();
    });

    afterEach(async () => {
      if (can) await balanced(site.daemon);
    });

    function phase(name: string, body: () => Promise<void>): void {
      test(name, { timeout: 240_000 }, async (context) => {
        onTestFailed(() => {
          process.stderr.write(`${site.transcript()}\n`);
        });
        if (name.includes('huge pages')) {
          const { reason, undo } = reserveHugePages();
          giveBack = undo;
          if (reason) context.skip(reason);
        }
        await body();
      });
    }

    phase('a guest with 5 GiB: buffers above 4 GiB', async () => {
      const { bytes } = await shared('large');
      expect(bytes).toBeGreaterThanOrEqual(5 * GIB);
      const sum = await randomData(site.vm('web'), MEGABYTES);
      expect(await sendData(site.vm('web'), 'large')).toBe(sum);
      expect(await buffersAbove4Gib(site.vm('large'))).toBeGreaterThan(0);
      expect(await randomData(site.vm('large'), MEGABYTES)).toBe(
        await sendData(site.vm('large'), 'web'),
      );
    });

    phase('memory is plugged, used, plugged and unplugged under traffic', async () => {
      const web = site.vm('web');
      const out = await Stream.begin(web, 'large');
      const into = await Stream.begin(site.vm('large'), 'web');
      const flow = () => Promise.all([out.flows(), into.flows()]);
      await flow();
      const before = await shared('web');
      expect(await buffersAbove4Gib(web)).toBe(0);

      await plugMemory(web, 'first', 256);
      await sharedIs('web', before.bytes + 256 * MIB);
      await flow();
      await useMemory(web);
      // The kernel takes new buffers from the new memory, which lies above 4 GiB.
      await until('buffers in the new memory', 30_000, async () => {
        await flow();
        return (await buffersAbove4Gib(web)) > 0;
      });

      await plugMemory(web, 'second', 128);
      await sharedIs('web', before.bytes + 384 * MIB);
      await flow();
      await unplugMemory(web, 'second');
      await sharedIs('web', before.bytes + 256 * MIB);
      await flow();
      for (const stream of [out, into]) {
        const { sent, received } = await stream.end();
        expect(received).toBe(sent);
      }
      expect(await web.ok('dmesg')).not.toMatch(/is not a head|BUG:|Oops|hw csum/);
    });

    phase('a guest whose memory is huge pages', async () => {
      await site.boot('huge');
      const { bytes } = await shared('huge');
      expect(bytes).toBeGreaterThanOrEqual(255 * MIB);
      const sum = await randomData(site.vm('huge'), MEGABYTES);
      expect(await sendData(site.vm('huge'), 'large')).toBe(sum);
      const back = await randomData(site.vm('large'), MEGABYTES);
      expect(await sendData(site.vm('large'), 'huge')).toBe(back);
      // The base reads and writes in the huge pages themselves.
      for (const pid of [site.vm('huge').pid, site.daemon.pid]) {
        const status = readFileSync(`/proc/${pid}/status`, 'utf8');
        expect(Number(/HugetlbPages:\s+(\d+) kB/.exec(status)?.[1])).toBeGreaterThan(0);
      }
      await site.vm('huge').kill();
      await site.daemon.untilState('huge', 'waiting', 10_000);
    });

    async function shared(name: string): Promise<{ regions: number; bytes: number }> {
      const status = await site.daemon.vm(name);
      return status.memory as { regions: number; bytes: number };
    }

    async function sharedIs(name: string, bytes: number): Promise<void> {
      let last = 0;
      await until(`${name} to share ${bytes} bytes`, 20_000, async () => {
        last = (await shared(name)).bytes;
        return last === bytes;
      }).catch(() => expect(last).toBe(bytes));
    }

    async function buffersAbove4Gib(vm: Vm): Promise<number> {
      return (await bufferAddresses(vm, 0)).filter((address) => address >= 4 * GIB).length;
    }
  });
}

/** Makes the kernel keep huge pages for a guest; `undo` gives back what was reserved for us. */
function reserveHugePages(): { reason: string; undo: () => void } {
  const missing = HUGE_PAGES - hugePages('HugePages_Free');
  if (missing <= 0) return { reason: '', undo: () => {} };
  if (!isRoot) return { reason: `not run as root: no ${HUGE_PAGES} huge pages`, undo: () => {} };
  const before = Number(readFileSync(HUGE, 'utf8'));
  const undo = () => writeFileSync(HUGE, `${before}\n`);
  try {
    writeFileSync(HUGE, `${before + missing}\n`);
  } catch (error) {
    return { reason: `no huge pages: ${(error as Error).message}`, undo: () => {} };
  }
  if (hugePages('HugePages_Free') >= HUGE_PAGES) return { reason: '', undo };
  return { reason: `the kernel finds no ${HUGE_PAGES} huge pages of 2 MiB`, undo };
}

function hugePages(field: string): number {
  const line = new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync('/proc/meminfo', 'utf8'));
  return Number(line?.[1] ?? 0);
}
