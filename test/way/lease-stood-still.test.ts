/** A base that stood still (SIGSTOP, no processor) could not hear the management guest: its lease goes on from where it was. */
import { expect, test } from 'vitest';
import { BASE_IP } from '../support/daemon.ts';
import { LAN_INTERFACE, Lan, NO_LAN } from '../support/lan.ts';
import { parse } from '../support/packets.ts';
import { udpFrame } from '../support/traffic.ts';
import { pause } from '../support/until.ts';
import { World } from '../support/world.ts';

const MANAGER = { mac: '52:54:00:00:00:02', ip: '10.77.0.2' };
/** Seconds. */
const LEASE = 4;

test.skipIf(NO_LAN !== '').each(['adaptive', 'busy'])(
  `a lease does not end while the base stands still: poll %s${NO_LAN && ` (${NO_LAN})`}`,
  async (poll) => {
    const lan = await Lan.start();
    let world: World | undefined;
    try {
      world = await World.start(
        {
          vms: { manager: { addresses: [MANAGER.ip], mac: MANAGER.mac, management: true } },
          adapters: {
            uplink: {
              interface: LAN_INTERFACE,
              network: 'lan',
              controllers: ['manager'],
              lease: LEASE,
              onControllerLoss: 'close',
            },
          },
          datapath: { poll },
        },
        { under: lan.under },
      );
      const { daemon } = world;
      const manager = await world.vm('manager');
      const ask = async (op: string) => {
        const request = Buffer.from(`{"id":1,"op":"${op}","adapter":"uplink"}`);
        await manager.send(udpFrame(MANAGER, BASE_IP, request, { ports: [5555, 7356] }));
      };
      const answer = async () =>
        JSON.parse(parse((await manager.receive()).frame).udp!.payload.toString());
      await ask('open');
      expect(await answer()).toMatchObject({ ok: true, state: 'open' });
      await daemon.freeze();
      try {
        await ask('renew');
        await pause(1000 * LEASE + 500);
      } finally {
        daemon.thaw();
      }
      expect(await answer()).toMatchObject({ ok: true, state: 'open', lease: LEASE });
      expect(daemon.lines.map((line) => JSON.stringify(line)).join('\n')).not.toMatch(
        /lease of|no controller/,
      );
    } finally {
      await world?.close();
      await lan.close();
    }
  },
);
