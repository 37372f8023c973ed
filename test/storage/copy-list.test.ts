/** A stage's rows and the one small copy that may come in between. */
import { expect, test } from 'vitest';
import { COPY_ROW, type Native } from '../../src/native.ts';
import { CopyList } from '../../src/storage/copy-list.ts';

test.each([false, true])(
  'what is fetched comes behind what is listed, which goes where it was to go (delivering: %s)',
  (delivering) => {
    const calls: [call: string, arenas: number[]][] = [];
    const carry = (call: string) => (count: number) => {
      calls.push([call, Array.from({ length: count }, (_, row) => copies.row(row).arena)]);
      return 0;
    };
    const native = { gatherCopies: carry('gather'), deliverCopies: carry('deliver') };
    const copies: CopyList = new CopyList(
      native as unknown as Native,
      new ArrayBuffer(8 * COPY_ROW.bytes),
    );
    copies.delivering = delivering;
    copies.add(1, 0, 64, 10);
    copies.add(1, 0, 128, 10);
    copies.fetch(1, 4096, 192, 16);
    expect(calls).toEqual([
      [delivering ? 'deliver' : 'gather', [64, 128]],
      ['gather', [192]],
    ]);
    expect(copies.count).toBe(0);
  },
);
