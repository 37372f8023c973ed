/** The addon refuses a copy that can't be right: nobody's guest can cause that, so it is a fault of ours and must be told, once. */
import { expect, test } from 'vitest';
import { Base } from '../../src/base/base.ts';
import type { FromWorker } from '../../src/base/plan.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import type { CopyList } from '../../src/storage/copy-list.ts';
import { DATAPATH } from '../support/datapath.ts';
import { BASE_IP, BASE_MAC } from '../support/daemon.ts';
import { A } from '../support/traffic.ts';

/** No region has this handle. */
const NO_REGION = 0xffff;

test('copies that the addon refused are logged as an error, and again only when there are more', () => {
  const lan = { name: 'lan', subnet: '10.77.0.0', prefix: 24, address: BASE_IP, mac: BASE_MAC };
  const vm = { name: 'a', network: 0, addresses: [A.ip], prefixes: [], mac: A.mac, worker: 0 };
  const posted: FromWorker[] = [];
  const base = new Base(
    native,
    {
      networks: [{ ...lan, mtu: 1500, packed: false }],
      vms: [{ ...vm, management: false, sockets: [] }],
      adapters: [],
      datapath: DATAPATH,
    },
    new Counters(1).buffer,
    (message) => posted.push(message),
    () => 1000,
  );
  const { copies } = base as unknown as { copies: CopyList };
  const errors = () =>
    posted.flatMap((message) =>
      message.kind === 'log' && message.level === 'error' ? [message] : [],
    );
  base.tick(1000);
  expect(errors()).toEqual([]);

  for (let row = 0; row < 2; row++) copies.add(NO_REGION, 0, 0, 64);
  copies.gather();
  base.tick(2000);
  base.tick(3000);
  expect(errors()).toHaveLength(1);
  expect(errors()[0].fields).toEqual({ refused: 2 });

  copies.add(NO_REGION, 0, 0, 64);
  copies.deliver();
  base.tick(4000);
  expect(errors().map(({ fields }) => fields)).toEqual([{ refused: 2 }, { refused: 3 }]);
  base.close();
});
