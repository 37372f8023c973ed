/**
 * Nothing overtakes: what is cut on the way, into segments or fragments, goes on in its own place among what came with it in the
 * same turn.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { BOTH_FORMATS, FORMATS } from '../support/formats.ts';
import { GSO, HDR_FLAG } from '../support/net-header.ts';
import { pattern } from '../support/offload-frames.ts';
import { parse } from '../support/packets.ts';
import { FEATURE } from '../support/protocol.ts';
import { A, B, tcpFrame, udpFrame } from '../support/traffic.ts';
import { PLAIN_FEATURES, type Vm } from '../support/vm.ts';
import { World } from '../support/world.ts';

const ROUNDS = 4;
const LARGE = 5000;
const SMALL = 100;
const MAY_CUT = { flags: 0 };

/** One flow, of which every other datagram is to be segmented, in one turn; returns its bytes. */
async function flow(vm: Vm, gsoSize: number, ip = {}): Promise<Buffer> {
  const bytes = pattern(ROUNDS * (LARGE + SMALL));
  const header = { flags: HDR_FLAG.needsCsum, checksumStart: 34, checksumOffset: 16 };
  for (let round = 0; round < ROUNDS; round++) {
    const start = round * (LARGE + SMALL);
    const part = (sequence: number, length: number) =>
      tcpFrame(A, B.ip, bytes.subarray(sequence, sequence + length), {
        sequence,
        checksum: 'partial',
        ip,
      });
    const segmented = { ...header, gsoType: GSO.tcpv4, gsoSize, headerLength: 54 };
    await vm.send(part(start, LARGE), { header: segmented, publish: false });
    const publish = round === ROUNDS - 1;
    await vm.send(part(start + LARGE, SMALL), { header, publish });
  }
  return bytes;
}

const PLACES = [
  ['one turn worker', BOTH_FORMATS],
  ['two turn workers', { ...BOTH_FORMATS, datapath: { workers: 2 } }],
] as const;

describe.each(PLACES)('%s', (_, config) => {
  let world: World;
  beforeAll(async () => {
    world = await World.start(config);
  });
  afterEach(async () => {
    await world.balance();
    await world.release();
  });
  afterAll(() => world?.close());

  describe.each(FORMATS)('$format', ({ packed }) => {
    const sender = { transmitBytes: 8192, packed };

    test.each([
      ['nothing', PLAIN_FEATURES],
      ['checksums', PLAIN_FEATURES | FEATURE.GUEST_CSUM],
      ['checksums and merged buffers', PLAIN_FEATURES | FEATURE.GUEST_CSUM | FEATURE.MRG_RXBUF],
    ])('segments, for a VM that negotiated %s', async (_name, features) => {
      const a = await world.vm('a', sender);
      const b = await world.vm('b', { features, packed });
      const bytes = await flow(a, 1460);
      for (let got = 0; got < bytes.length; ) {
        const { tcp } = parse((await b.receive()).frame);
        expect(tcp!.sequence).toBe(got);
        expect(tcp!.payload.equals(bytes.subarray(got, got + tcp!.payload.length))).toBe(true);
        got += tcp!.payload.length;
      }
    });

    test('fragments', async () => {
      const a = await world.vm('a', sender);
      const b = await world.vm('b', { packed });
      for (let identification = 1; identification <= 6; identification++) {
        const payload = pattern(identification % 2 === 1 ? 4000 : 50);
        await a.send(udpFrame(A, B.ip, payload, { ip: { ...MAY_CUT, identification } }), {
          publish: identification === 6,
        });
      }
      for (const identification of [1, 1, 1, 2, 3, 3, 3, 4, 5, 5, 5, 6]) {
        expect(parse((await b.receive()).frame).ip!.identification).toBe(identification);
      }
    });

    test('fragments of segments', async () => {
      const a = await world.vm('a', sender);
      const b = await world.vm('b', { features: PLAIN_FEATURES, packed });
      const bytes = await flow(a, 2000, MAY_CUT);
      const got: Buffer[] = [];
      let length = 0;
      while (length < bytes.length) {
        const { ip } = parse((await b.receive()).frame);
        const data = ip!.fragmentOffset === 0 ? ip!.payload.subarray(20) : ip!.payload;
        got.push(data);
        length += data.length;
      }
      expect(Buffer.concat(got).equals(bytes)).toBe(true);
    });
  });
});
