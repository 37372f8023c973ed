/** The addon refuses a copy that can't be right: nobody's guest can cause that, so it is a fault of ours and must be told, once. */
import { expect, test } from 'vitest';
import { Base } from '../../src/base/base.ts';
import type { FromWorker } from '../../src/base/messages.ts';
import { Counters } from '../../src/counters.ts';
import { native } from '../../src/native.ts';
import type { CopyList } from '../../src/storage/copy-list.ts';
import { lanPlan } from '../support/lan-plan.ts';
import { A } from '../support/traffic.ts';

/** No region has this handle. */
const NO_REGION = 0xffff;

test('copies that the addon refused are logged as an error, and again only when there are more', () => {
  const posted: FromWorker[] = [];
  const base = new Base(
    native,
    lanPlan([{ addresses: [A.ip], mac: A.mac }]),
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
