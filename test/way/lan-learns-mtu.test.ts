/**
 * A host on the LAN learns the size that fits a VM whose driver was told a smaller MTU than its network's, whichever turn worker serves the VM: only that
 * one knows, and the adapter is the first one's.
 */
import { expect, test } from 'vitest';
import { BASE_IP } from '../support/daemon.ts';
import { LAN_INTERFACE, Lan, NO_LAN } from '../support/lan.ts';
import { parse } from '../support/packets.ts';
import { B, THREE_VMS, udpFrame } from '../support/traffic.ts';
import { until } from '../support/until.ts';
import type { Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const MANAGER = { mac: '52:54:00:00:00:02', ip: '10.77.0.2' };
const SMALL = 1280;

const text = async (vm: Vm) => parse((await vm.receive()).frame).udp!.payload.toString();

test.skipIf(NO_LAN !== '').each([0, 1])(
  `the host’s kernel knows it: the VM is served by worker %i${NO_LAN && ` (${NO_LAN})`}`,
  async (worker) => {
    const lan = await Lan.start();
    let world: World | undefined;
    try {
      const controllers = ['manager'];
      world = await World.start(
        {
          vms: {
            b: { ...THREE_VMS.b, worker },
            manager: { addresses: [MANAGER.ip], mac: MANAGER.mac, management: true, worker: 0 },
          },
          adapters: {
            uplink: { interface: LAN_INTERFACE, network: 'lan', controllers, lease: 60 },
          },
          datapath: { workers: 2 },
        },
        { under: lan.under },
      );
      const { daemon } = world;
      const manager = await world.vm('manager');
      const open = Buffer.from('{"id":1,"op":"open","adapter":"uplink"}');
      await manager.send(udpFrame(MANAGER, BASE_IP, open, { ports: [5555, 7356] }));
      expect(await text(manager)).toContain('"ok":true');
      const b = await world.vm('b');
      expect(await b.setMtu(SMALL)).toBe(0n);
      lan.setPathDiscovery(true);
      lan.send(B.ip, 5000, 'what fits');
      expect(await text(b)).toBe('what fits');
      const heard = lan.icmpReceived(3);
      const octets = lan.octetsReceived();
      lan.send(B.ip, 5000, 'x'.repeat(1400));
      await until(
        'it to be dropped',
        async () => (await daemon.status()).adapters.uplink.drops.tooBig === 1,
      );
      await until('its kernel to know', () =>
        lan.ipOutside('route', 'get', B.ip).includes(`mtu ${SMALL}`),
      );
      expect(lan.icmpReceived(3)).toBe(heard + 1);
      // As much of the datagram as fits, for who has to look into it (RFC 1812 §4.3.2.3).
      expect(lan.octetsReceived() - octets).toBe(576);
      await world.balance();
    } finally {
      await world?.close();
      await lan.close();
    }
  },
);
