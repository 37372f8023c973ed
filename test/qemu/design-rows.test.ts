// What the base must do, row by row of the design, shown with booted guests and a LAN. The order
// is that of a site's life: first guests among themselves, then the adapter, then its loss.

import { afterAll, afterEach, beforeAll, expect, onTestFailed, test } from 'vitest';
import { interfaceCounters, ringSums } from '../../qemu/guest-rings.ts';
import { Lan } from '../../qemu/lan.ts';
import { LanHost } from '../../qemu/lan-host.ts';
import { systemQemu } from '../../qemu/qemu.ts';
import { ADAPTER, BASE_ADDRESS, Site } from '../../qemu/site.ts';
import { traceWhile } from '../../qemu/trace.ts';
import { beginSending, DIGEST_PORT, randomData, sendData } from '../../qemu/transfer.ts';
import { until } from '../../qemu/wait.ts';
import type { TracedDatagram } from '../../src/turn/trace.ts';
import { balanced } from './books.ts';
import { suite } from './suite.ts';

const MEGABYTES = 50;
const LEASE_SECONDS = 8;

suite('the base, row by row', ['guests', 'root'], (can) => {
  let lan: Lan;
  let host: LanHost;
  let site: Site;

  beforeAll(async () => {
    if (!can) return;
    lan = new Lan();
    host = await LanHost.start(lan);
    site = await Site.start({
      qemu: systemQemu()!,
      lan,
      lease: LEASE_SECONDS,
      // The traces of these rows are one worker's; those of two are in way/workers.
      config: { datapath: { workers: 1 } },
      guests: {
        web: { number: 11 },
        db: { number: 12 },
        other: { number: 13 },
        controller: { number: 2, management: true },
        standby: { number: 3, management: true },
      },
    });
    await site.boot('web', 'db', 'other');
  });

  afterAll(async () => {
    await site?.stop();
    await host?.stop();
    lan?.remove();
  });

  afterEach(async () => {
    if (can) await balanced(site.daemon);
  });

  /** A test whose failure shows the consoles and the base's log. */
  function row(name: string, body: () => Promise<void>): void {
    test(name, async () => {
      onTestFailed(() => {
        process.stderr.write(`${site.transcript()}\n`);
      });
      await body();
    });
  }

  row(
    "row 1: reads what a VM wrote to its own output buffer; nobody else's memory is touched",
    async () => {
      const sum = await randomData(site.vm('web'), MEGABYTES);
      const other = site.vm('other');
      const before = {
        kernel: await interfaceCounters(other),
        rings: await ringSums(other),
        port: await site.daemon.vm('other'),
        sender: (await site.daemon.vm('web')).output.bytes,
      };
      expect(await sendData(site.vm('web'), 'db')).toBe(sum);
      const read = (await site.daemon.vm('web')).output.bytes - before.sender;
      expect(read).toBeGreaterThan(MEGABYTES * 1048576);
      expect(await interfaceCounters(other)).toEqual(before.kernel);
      expect(await ringSums(other)).toEqual(before.rings);
      const { output, input } = await site.daemon.vm('other');
      expect({ output, input }).toEqual({ output: before.port.output, input: before.port.input });
    },
  );

  row('row 2: copies a datagram into base storage before it decides anything', async () => {
    const traced = await traceOfPing('db', 4);
    expect(traced).toHaveLength(4);
    for (const { storage, datagram, from } of traced) {
      expect(storage.slot).toBeGreaterThanOrEqual(0);
      // Room for the virtio-net header in front of it, and the whole frame.
      expect(storage.offset).toBeGreaterThanOrEqual(12);
      expect(storage.bytes).toBe(98);
      expect(datagram.kind).toContain('ICMP');
      expect(from.kind).toBe('output buffer');
    }
  });

  row(
    'row 3: finds the destination address in that copy and looks it up in the address list',
    async () => {
      const ways: [string, string][] = [
        ['10.77.0.12', 'to VM db'],
        ['10.77.0.13', 'to VM other'],
        ['10.77.0.99', 'dropped: adapterClosed'],
        ['192.0.2.7', 'dropped: adapterClosed'],
      ];
      for (const [address, decision] of ways) {
        const traced = await traceOfPing(address, 2);
        const found = traced.find((one) => one.datagram.destination === address);
        expect(found?.decision, `where ${address} goes`).toBe(decision);
      }
      // The base's own address: it turns the request, in base storage, into its answer.
      const [answer] = await traceOfPing(BASE_ADDRESS, 2);
      expect(answer).toMatchObject({ from: { port: 'base' }, decision: 'to VM web' });
      expect(answer?.datagram).toMatchObject({ source: BASE_ADDRESS, destination: '10.77.0.11' });
    },
  );

  row("row 4: copies it from base storage into the destination VM's input buffer", async () => {
    const traced = await traceOfPing('db', 2);
    const way = traced.find((one) => one.datagram.destination === '10.77.0.12');
    expect(way?.from).toMatchObject({ port: 'web', kind: 'output buffer', ring: 1 });
    expect(way?.to).toMatchObject({ port: 'db', kind: 'input buffer', ring: 0 });
    const sum = await randomData(site.vm('db'), MEGABYTES);
    const before = (await site.daemon.vm('web')).input.bytes;
    expect(await sendData(site.vm('db'), 'web')).toBe(sum);
    const written = (await site.daemon.vm('web')).input.bytes - before;
    expect(written).toBeGreaterThan(MEGABYTES * 1048576);
  });

  row('row 7: before the adapter is open the LAN is refused, and the sender is told', async () => {
    const before = (await site.daemon.vm('web')).drops.adapterClosed ?? 0;
    const { output, status } = await site.vm('web').run('wget -q -O - http://lan/');
    expect(status).not.toBe(0);
    expect(output).toMatch(/Network (is )?unreachable/);
    expect((await site.daemon.vm('web')).drops.adapterClosed).toBeGreaterThan(before);
    expect(lan.framesReceived()).toBe(0);
    const { adapters } = await site.daemon.status();
    expect(adapters[ADAPTER]?.state).toBe('closed');
  });

  row('row 7: an ordinary VM that asks to open it is refused', async () => {
    const request = `{"id":7,"op":"open","adapter":"${ADAPTER}"}`;
    const ask = `echo '${request}' | /usr/lib/basewire/udp ${BASE_ADDRESS} 7356`;
    const answer = await site.vm('web').ok(ask);
    expect(JSON.parse(answer)).toMatchObject({ id: 7, ok: false, error: 'forbidden' });
    const { adapters } = await site.daemon.status();
    expect(adapters[ADAPTER]?.state).toBe('closed');
    expect(lan.framesReceived()).toBe(0);
  });

  row('row 7: the management guest opens the adapter at boot, a stand-by waits', async () => {
    await site.boot('controller');
    await openedBy('controller');
    await site.boot('standby');
    const held = "while ! grep -q 'another management' $STATE; do sleep 0.2; done";
    await site.vm('standby').ok(`STATE=/run/basewire-control.uplink.state; ${held}`, 30);
    await openedBy('controller');
    const answer = await site.vm('controller').ok('cat /run/basewire-control.uplink.state');
    expect(answer).toContain('open interface=uplink0');
  });

  row("row 5: a destination that is no VM's goes into the adapter's output buffer", async () => {
    const traced = await traceOfPing('lan', 4);
    const way = traced.find((one) => one.datagram.destination === lan.address);
    expect(way).toMatchObject({
      decision: `to adapter ${ADAPTER}`,
      to: { port: ADAPTER, kind: 'adapter’s transmit ring' },
    });
    const sum = await randomData(site.vm('web'), MEGABYTES);
    const before = await adapterBytes('sent');
    expect(await sendData(site.vm('web'), 'lan')).toBe(sum);
    expect(host.served().at(-1)).toMatchObject({ received: MEGABYTES * 1048576, sha256: sum });
    expect((await adapterBytes('sent')) - before).toBeGreaterThan(MEGABYTES * 1048576);
  });

  row("row 6: a datagram from the network goes into its VM's input buffer", async () => {
    const ping = async () => {
      const client = lan.busybox('ping', '-c', '2', '10.77.0.12');
      expect(await client.ended, client.output).toBe(0);
    };
    const traced = await traceWhile(site.daemon, 'db', 4, ping);
    const way = traced.find((one) => one.from.port === ADAPTER);
    expect(way).toMatchObject({
      from: { kind: 'adapter’s receive ring' },
      decision: 'to VM db',
      to: { port: 'db', kind: 'input buffer', ring: 0 },
    });
    const before = await adapterBytes('received');
    const sent = await host.send(site.addressOf('db'), DIGEST_PORT, MEGABYTES * 1048576);
    expect(sent.answer.split(' ')[0]).toBe(sent.sha256);
    expect((await adapterBytes('received')) - before).toBeGreaterThan(MEGABYTES * 1048576);
  });

  row(
    'row 7: the controller dies during a transfer: it completes, the stand-by takes over',
    async () => {
      const sum = await randomData(site.vm('web'), MEGABYTES);
      const quiet = await site.daemon.vm('controller');
      const sent = await adapterBytes('sent');
      const done = await beginSending(site.vm('web'), 'lan');
      await until(
        'the transfer to flow',
        20_000,
        async () => (await adapterBytes('sent')) > sent + 1e6,
      );
      await site.vm('controller').kill();
      expect(await done()).toBe(sum);
      // Nothing of it passed through the management guest.
      const { input } = await site.daemon.vm('controller');
      expect(input.bytes - quiet.input.bytes).toBeLessThan(10_000);
      await openedBy('standby');
      expect(await sendData(site.vm('web'), 'lan')).toBe(sum);
    },
  );

  row("row 8: the VMs' applications use their own IP stack and notice nothing", async () => {
    const web = site.vm('web');
    expect(await web.ok('wget -q -O - http://db/')).toContain('Hello from db');
    expect(await site.vm('db').ok('wget -q -O - http://lan/')).toContain('Hello from the LAN');
    expect(await host.page(site.addressOf('web'))).toContain('Hello from web');
    // Within the subnet the base is the wire, not a hop: time to live stays.
    expect(await web.ok('ping -c 1 db')).toContain('ttl=64');
    expect(await web.ok('traceroute -n -q 1 -w 2 db')).toMatch(/^ *1 +10\.77\.0\.12 /m);
    expect(await web.ok('readlink /sys/class/net/eth0/device/driver')).toMatch(/virtio_net$/);
    for (const name of ['web', 'db', 'other', 'standby']) {
      const log = await site.vm(name).ok('dmesg');
      expect(log).not.toMatch(
        /virtio_net.*(id \d+ is not a head|unexpected|bad)|BUG:|Oops|hw csum/,
      );
      const counters = await interfaceCounters(site.vm(name));
      const wrong = Object.entries(counters).filter(([key, n]) => /error|crc/.test(key) && n > 0);
      expect(wrong).toEqual([]);
    }
  });

  /** The way of web's next `count` datagrams while it pings; ARP is done before. */
  async function traceOfPing(to: string, count: number): Promise<TracedDatagram[]> {
    const ping = () => site.vm('web').run(`ping -c ${Math.ceil(count / 2)} -i 0.2 -W 1 ${to}`);
    await ping();
    return await traceWhile(site.daemon, 'web', count, ping);
  }

  async function openedBy(name: string): Promise<void> {
    await until(`${ADAPTER} to be open by ${name}`, 30_000, async () => {
      const adapter = (await site.daemon.status()).adapters[ADAPTER];
      return adapter?.state === 'open' && adapter.openedBy === name;
    });
  }

  async function adapterBytes(direction: 'sent' | 'received'): Promise<number> {
    const flows = (await site.daemon.status()).adapters as Record<string, unknown>;
    return (flows[ADAPTER] as Record<typeof direction, { bytes: number }>)[direction].bytes;
  }
});
