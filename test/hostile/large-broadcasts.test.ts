/** Datagrams to many that are longer than the network takes, or ask for segmentation: nobody gets them, and they are counted. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { GSO, HDR_FLAG } from '../support/net-header.ts';
import {
  BROADCAST,
  ETHERTYPE,
  ethernet,
  ipv4,
  PROTOCOL,
  parse,
  TCP_FLAG,
  tcp,
  udp,
} from '../support/packets.ts';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { A, B, udpFrame } from '../support/traffic.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

describe.each(FORMATS)('large datagrams to many: $format', ({ packed }) => {
  let world: World;
  beforeAll(async () => {
    world = await World.start(BOTH_FORMATS);
  });
  afterEach(() => world.release());
  afterAll(() => world?.close());

  async function nothingArrives(a: Vm, b: Vm): Promise<void> {
    await a.send(udpFrame(A, B.ip, Buffer.from('the marker')));
    expect(parse((await b.receive()).frame).udp?.payload.toString()).toBe('the marker');
    await world.balance();
  }

  for (const destination of ['10.77.0.255', '255.255.255.255', '239.1.2.3']) {
    test(`3000 bytes to ${destination}`, async () => {
      const a = await world.vm('a', { packed, transmitBytes: 4096 });
      const b = await world.vm('b', { packed });
      const before = await world.daemon.count('a', 'tooBig');
      const fields = { source: A.ip, destination };
      const packet = udp({ ...fields, sourcePort: 1, destinationPort: 9 }, Buffer.alloc(3000));
      await a.send(
        ethernet(
          { source: A.mac, destination: BROADCAST, type: ETHERTYPE.ipv4 },
          ipv4({ ...fields, protocol: PROTOCOL.udp }, packet),
        ),
      );
      await nothingArrives(a, b);
      await world.daemon.untilCount('a', 'tooBig', before + 1);
    });

    test(`TCP to ${destination}, to be segmented`, async () => {
      const a = await world.vm('a', { packed, transmitBytes: 4096 });
      const b = await world.vm('b', { packed });
      const before = await world.daemon.count('a', 'badSegmentation');
      const fields = { source: A.ip, destination };
      const packet = tcp(
        { ...fields, sourcePort: 1, destinationPort: 9, flags: TCP_FLAG.ack, checksum: 'partial' },
        Buffer.alloc(3000),
      );
      await a.send(
        ethernet(
          { source: A.mac, destination: BROADCAST, type: ETHERTYPE.ipv4 },
          ipv4({ ...fields, protocol: PROTOCOL.tcp }, packet),
        ),
        {
          header: {
            flags: HDR_FLAG.needsCsum,
            gsoType: GSO.tcpv4,
            gsoSize: 1000,
            checksumStart: 34,
            checksumOffset: 16,
          },
        },
      );
      await nothingArrives(a, b);
      await world.daemon.untilCount('a', 'badSegmentation', before + 1);
    });
  }
});
