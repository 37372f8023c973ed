/** ARP on the LAN: whom the base answers, and how it defends its addresses. */
import { describe, expect, it } from 'vitest';
import type { AdapterContext } from '../../src/adapter/context.ts';
import { LanArp } from '../../src/adapter/lan-arp.ts';
import type { Neighbours } from '../../src/adapter/neighbours.ts';
import { dotted, keyOf } from '../../src/wire/ipv4-address.ts';
import { macText } from '../../src/wire/mac.ts';
import { arp, BROADCAST, ETHERTYPE, ethernet, parse } from '../support/packets.ts';
import { dirtyStorage, frameOf, putFrame } from '../support/slots.ts';

const MAC = Uint8Array.of(2, 0, 0, 0, 0, 1);
const OURS = ['10.77.0.1', '10.77.0.11', '10.77.0.12'];

function world() {
  const storage = dirtyStorage();
  const said: { at: number; address: string }[] = [];
  const logged: string[] = [];
  let now = 0;
  const context = {
    storage,
    network: { address: '10.77.0.1', prefix: 24 },
    addresses: {
      owner: (key: number) => (OURS.slice(1).map(keyOf).includes(key) ? 0 : -1),
      ownedKeys: () => [],
    },
    port: 9,
    outbox: {
      add(_from: number, _to: number, packet: Uint8Array) {
        said.push({ at: now, address: parse(Buffer.from(packet.subarray(12))).arp!.targetIp });
        return true;
      },
    },
    log: (_level: string, message: string) => logged.push(message),
    due: () => {},
  } as unknown as AdapterContext;
  const learned: string[] = [];
  const neighbours = {
    learn(key: number) {
      learned.push(dotted(key));
      return false;
    },
  };
  const lan = new LanArp(context, neighbours as unknown as Neighbours, MAC);
  return {
    learned,
    said,
    logged,
    receive(frame: Buffer, at = now): Buffer | null {
      now = at;
      storage.clear();
      lan.receive(putFrame(storage, frame, {}, 9), now);
      return storage.count > 1 ? frameOf(storage, 1) : null;
    },
    tick: (at: number) => {
      now = at;
      lan.tick(at);
    },
  };
}

describe('ARP on the LAN', () => {
  it('answers the hardware address that the request names (RFC 826), not the frame’s source', () => {
    // NLB masks the frame's source; so do access points and bridges that speak for others.
    const { receive } = world();
    const request = ethernet(
      { source: '02:01:0a:4d:00:c8', destination: BROADCAST, type: ETHERTYPE.arp },
      arp({
        operation: 1,
        senderMac: '02:bf:0a:4d:00:c8',
        senderIp: '10.77.0.200',
        targetIp: '10.77.0.11',
      }),
    );
    const reply = parse(receive(request)!);
    expect(reply.arp!.targetMac).toBe('02:bf:0a:4d:00:c8');
    expect(reply.destination).toBe('02:bf:0a:4d:00:c8');
  });

  it('neither answers nor believes who names a group, nobody or the adapter as his MAC, or no host’s address as his', () => {
    const { receive, learned } = world();
    const ask = (senderMac: string, senderIp: string) =>
      receive(
        ethernet(
          { source: '02:00:00:00:99:99', destination: BROADCAST, type: ETHERTYPE.arp },
          arp({ operation: 1, senderMac, senderIp, targetIp: '10.77.0.11' }),
        ),
      );
    expect(ask('02:00:00:00:99:99', '10.77.0.200')).not.toBeNull();
    expect(learned).toEqual(['10.77.0.200']);
    // NLB in multicast mode does the first (RFC 1812 §3.3.2: not to be believed).
    for (const mac of ['03:bf:0a:4d:00:c8', BROADCAST, '00:00:00:00:00:00', macText(MAC)])
      expect(ask(mac, '10.77.0.200'), mac).toBeNull();
    for (const address of ['127.0.0.1', '0.0.0.7', '224.0.0.1', '255.255.255.255'])
      expect(ask('02:00:00:00:99:99', address), address).toBeNull();
    expect(learned).toHaveLength(1);
  });

  const claim = (address: string) =>
    ethernet(
      { source: '02:00:00:00:99:99', destination: BROADCAST, type: ETHERTYPE.arp },
      arp({ operation: 1, senderMac: '02:00:00:00:99:99', senderIp: address, targetIp: address }),
    );

  it('defends each address, whoever claims another one', () => {
    const { receive, said, logged } = world();
    receive(claim('10.77.0.11'), 0);
    receive(claim('10.77.0.12'), 100);
    expect(said.map(({ address }) => address)).toEqual(['10.77.0.11', '10.77.0.12']);
    expect(logged.length).toBe(2);
  });

  it('does not fill the adapter’s log with claims', () => {
    const { receive, said, logged } = world();
    for (let second = 0; second < 100; second++) {
      receive(claim('10.77.0.11'), second * 1000);
      receive(claim('10.77.0.12'), second * 1000 + 1);
    }
    expect(said.length).toBe(20);
    expect(logged.length).toBe(20);
    for (let second = 100; second < 110; second++)
      for (const address of OURS) receive(claim(address), second * 1000);
    expect(logged.length).toBeLessThan(30);
  });

  it('defends by one single announcement (RFC 5227 §2.4)', () => {
    const { receive, said, tick } = world();
    receive(claim('10.77.0.11'), 0);
    for (let at = 0; at < 9000; at += 10) tick(at);
    expect(said).toEqual([{ at: 0, address: '10.77.0.11' }]);
  });
});
