// Guests that differ in what their network devices can do: one with everything, one without
// checksum offload, segmentation and mergeable buffers. The base does in software what the
// receiver can't, towards the LAN and from it, too.

import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from 'vitest';
import { Lan } from '../../qemu/lan.ts';
import { LanHost } from '../../qemu/lan-host.ts';
import { systemQemu } from '../../qemu/qemu.ts';
import { ADAPTER, Site } from '../../qemu/site.ts';
import { DIGEST_PORT, randomData, sendData } from '../../qemu/transfer.ts';
import { until } from '../../qemu/wait.ts';
import { balanced } from './books.ts';
import { suite } from './suite.ts';

const MEGABYTES = 10;
const PLAIN = [
  ...['csum=off', 'guest_csum=off', 'gso=off', 'mrg_rxbuf=off'],
  ...['host_tso4=off', 'host_tso6=off', 'host_ecn=off', 'host_ufo=off'],
  ...['guest_tso4=off', 'guest_tso6=off', 'guest_ecn=off', 'guest_ufo=off'],
];

suite('guests with different offloads', ['guests', 'root'], (can) => {
  let lan: Lan;
  let host: LanHost;
  let site: Site;
  const sums = new Map<string, string>();

  beforeAll(async () => {
    if (!can) return;
    lan = new Lan();
    host = await LanHost.start(lan);
    site = await Site.start({
      qemu: systemQemu()!,
      lan,
      guests: {
        full: { number: 11, management: true },
        plain: { number: 12, device: PLAIN },
      },
    });
    await site.boot();
    await until('the adapter to be open', 30_000, async () => {
      return (await site.daemon.status()).adapters[ADAPTER]?.state === 'open';
    });
    for (const name of ['full', 'plain'])
      sums.set(name, await randomData(site.vm(name), MEGABYTES));
  });

  afterAll(async () => {
    await site?.stop();
    await host?.stop();
    lan?.remove();
  });

  afterEach(async () => {
    if (can) await balanced(site.daemon);
  });

  function way(name: string, body: () => Promise<void>): void {
    test(name, async () => {
      onTestFailed(() => {
        process.stderr.write(`${site.transcript()}\n`);
      });
      await body();
    });
  }

  way('each guest has negotiated what it was given, and no more', async () => {
    const named = async (vm: string) => (await site.daemon.vm(vm)).features as string[];
    const full = await named('full');
    const plain = await named('plain');
    for (const feature of ['CSUM', 'GUEST_CSUM', 'HOST_TSO4', 'GUEST_TSO4', 'MRG_RXBUF']) {
      expect(full).toContain(feature);
      expect(plain).not.toContain(feature);
    }
  });

  for (const [from, to] of [
    ['full', 'plain'],
    ['plain', 'full'],
    ['full', 'lan'],
    ['plain', 'lan'],
  ] as const) {
    way(`${from} to ${to}: ${MEGABYTES} MB arrive byte for byte`, async () => {
      expect(await sendData(site.vm(from), to)).toBe(sums.get(from));
    });
  }

  for (const to of ['full', 'plain']) {
    way(`the LAN to ${to}: ${MEGABYTES} MB arrive byte for byte`, async () => {
      const sent = await host.send(site.addressOf(to), DIGEST_PORT, MEGABYTES * 1048576);
      expect(sent.answer.split(' ')[0]).toBe(sent.sha256);
    });
  }

  way('large datagrams in fragments pass both ways', async () => {
    await site.vm('full').ok('ping -c 2 -i 0.2 -s 8000 plain');
    await site.vm('plain').ok('ping -c 2 -i 0.2 -s 8000 full');
    await site.vm('plain').ok('ping -c 2 -i 0.2 -s 8000 lan');
  });
});
