/**
 * What a base keeps does not grow with the turns it has run: a worker that polls runs some millions in a second, and a number past 2^31 is a
 * fraction for V8, in the midst of the code that every datagram runs through.
 */
import { expect, test } from 'vitest';
import { Site, SMALL } from '../support/site.ts';

const TURNS = 20_000;

/** Every number in the fields of `root` and of what it refers to; not those of arrays, which are memory. */
function numbersOf(root: object): Map<string, number> {
  const found = new Map<string, number>();
  const seen = new Set<object>();
  const look = (object: object, path: string) => {
    if (seen.has(object)) return;
    seen.add(object);
    if (ArrayBuffer.isView(object) || object instanceof ArrayBuffer) return;
    for (const [name, value] of Object.entries(object)) {
      if (typeof value === 'number') found.set(`${path}.${name}`, value);
      else if (typeof value === 'object' && value !== null) look(value, `${path}.${name}`);
    }
  };
  look(root, 'turn');
  return found;
}

test('no field counts turns', () => {
  const site = new Site();
  site.begin(1);
  site.prepare(1, SMALL);
  site.send(1, 1);
  site.turn();
  for (const busy of [false, true]) {
    const before = numbersOf(site.base.turn);
    expect(before.size).toBeGreaterThan(100);
    for (let turn = 0; turn < TURNS; turn++) {
      if (busy) site.send(1, 1);
      site.turn();
    }
    for (const [path, value] of numbersOf(site.base.turn)) {
      const old = before.get(path);
      if (old === undefined || old === value) continue;
      const grown = Math.abs(value - old);
      // A ring's indices go round.
      const index = /\.queue\.(next|shown|asked|armed|fullAt)/.test(path);
      expect(grown, path).toBeLessThan(index ? 0x10000 : TURNS / 2);
    }
  }
});
