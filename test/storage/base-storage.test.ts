/** Room that was kept back for who comes last is there again afterwards, and no more than there was. */
import { expect, test } from 'vitest';
import { BaseStorage } from '../../src/storage/base-storage.ts';

test('kept back and given back, turn after turn', () => {
  const storage = new BaseStorage(new ArrayBuffer(8192), 4096, 16);
  for (let turn = 0; turn < 3; turn++) {
    storage.keepBack(1024, 4);
    storage.keepBack(512, 2);
    expect([storage.limit, storage.slots]).toEqual([4096 - 1536, 16 - 6]);
    storage.release();
    expect([storage.limit, storage.slots]).toEqual([4096, 16]);
  }
});
