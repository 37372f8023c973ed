// A network with an MTU of 9000 bytes: guests take it over by themselves, jumbo datagrams pass
// between them, and what is too large for the adapter's 1500 comes back with the right word.

import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from 'vitest';
import { Lan } from '../../qemu/lan.ts';
import { LanHost } from '../../qemu/lan-host.ts';
import { systemQemu } from '../../qemu/qemu.ts';
import { ADAPTER, BASE_ADDRESS, Site } from '../../qemu/site.ts';
import { traceWhile } from '../../qemu/trace.ts';
import { DIGEST_PORT, randomData, sendData } from '../../qemu/transfer.ts';
import { until } from '../../qemu/wait.ts';
import { balanced } from './books.ts';
import { suite } from './suite.ts';

const MTU = 9000;
/** What `ping -s` takes: without the headers of IPv4 and ICMP. */
const PAYLOAD = MTU - 28;
const MEGABYTES = 10;

suite('an MTU of 9000', ['guests', 'root'], (can) => {
  let lan: Lan;
  let host: LanHost;
  let site: Site;

  beforeAll(async () => {
    if (!can) return;
    lan = new Lan();
    host = await LanHost.start(lan);
    const subnet = { subnet: '10.77.0.0/24', address: BASE_ADDRESS, mac: '02:00:0a:4d:00:01' };
    site = await Site.start({
      qemu: systemQemu()!,
      lan,
      config: { networks: { lan: { ...subnet, mtu: MTU } } },
      guests: { web: { number: 11, management: true }, db: { number: 12 } },
    });
    await site.boot();
    await until('the adapter to be open', 60_000, async () => {
      return (await site.daemon.status()).adapters[ADAPTER]?.state === 'open';
    });
  }, 300_000);

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

  way('the guests have taken over the MTU that is offered', async () => {
    for (const name of ['web', 'db']) {
      expect((await site.daemon.vm(name)).features).toContain('MTU');
      expect(await site.vm(name).ok('cat /sys/class/net/eth0/mtu')).toBe(`${MTU}`);
    }
  });

  way('datagrams of 9000 bytes pass between guests in one piece, and no larger ones', async () => {
    const web = site.vm('web');
    await web.ok('ping -c 1 -W 10 db');
    const ping = () => web.ok(`ping -c 2 -i 0.2 -W 10 -s ${PAYLOAD} db`);
    const traced = await traceWhile(site.daemon, 'db', 4, ping);
    const requests = traced.filter(
      (one) => one.from.port === 'web' && /ICMP/.test(one.datagram.kind),
    );
    expect(requests).toHaveLength(2);
    for (const { storage } of requests) expect(storage.bytes).toBe(MTU + 14);
    await web.ok(`ping -c 2 -i 0.2 -W 10 -s ${PAYLOAD} ${BASE_ADDRESS}`);
    const sum = await randomData(web, MEGABYTES);
    expect(await sendData(web, 'db')).toBe(sum);
  });

  way('what is too large for the adapter: "fragmentation needed", with its MTU', async () => {
    const db = site.vm('db');
    await db.ok('ping -c 1 -W 10 lan');
    const before = await site.daemon.count('db', 'tooBig');
    const { output, status } = await db.run(`ping -c 1 -W 2 -s ${PAYLOAD} lan`);
    expect(status, output).not.toBe(0);
    expect(await site.daemon.count('db', 'tooBig')).toBe(before + 1);
    // The guest believes it: it fragments from now on, and the LAN puts together. Seven fragments
    // make 9000 bytes at an MTU of 1500 (at 1303 to 1516, to be exact); ARP may come on top.
    const { datagrams } = (await site.daemon.vm('db')).output;
    await db.ok(`ping -c 3 -i 0.2 -W 10 -s ${PAYLOAD} lan`);
    expect(await site.daemon.count('db', 'tooBig')).toBe(before + 1);
    const fragments = (await site.daemon.vm('db')).output.datagrams - datagrams;
    expect(fragments).toBeGreaterThanOrEqual(3 * 7);
    expect(fragments).toBeLessThan(3 * 8);
  });

  way('TCP between the LAN and a guest with the large MTU, both ways', async () => {
    const sum = await randomData(site.vm('web'), MEGABYTES);
    expect(await sendData(site.vm('web'), 'lan')).toBe(sum);
    expect(host.served().at(-1)).toMatchObject({ sha256: sum });
    const sent = await host.send(site.addressOf('web'), DIGEST_PORT, MEGABYTES * 1048576);
    expect(sent.answer.split(' ')[0]).toBe(sent.sha256);
  });
});
