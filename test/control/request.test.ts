/** Control requests: what is one, and all that is none. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseRequest } from '../../src/control/request.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const parse = (text: string) => parseRequest(bytes(text));

describe('control requests', () => {
  it.each([
    ['{"id":1,"op":"open","adapter":"uplink"}', { id: 1, op: 'open', adapter: 'uplink' }],
    ['{"id":2,"op":"status"}', { id: 2, op: 'status' }],
    [' {"adapter" : "u",\n"op":"renew","id":"a-7"}\n', { id: 'a-7', op: 'renew', adapter: 'u' }],
    ['{"id":-1.5,"op":"close","adapter":""}', { id: -1.5, op: 'close', adapter: '' }],
    ['{"id":0,"op":"close","adapter":"{[,\\"]}"}', { id: 0, op: 'close', adapter: '{[,"]}' }],
    ['{"id":0,"op":"close","adapter":"\\",{"}', { id: 0, op: 'close', adapter: '",{' }],
    ['{"id":"\\\\","op":"status"}', { id: '\\', op: 'status' }],
    [`{"id":"${'x'.repeat(64)}","op":"status"}`, { id: 'x'.repeat(64), op: 'status' }],
  ])('takes %s', (text, request) => {
    expect(parse(text)).toEqual(request);
  });

  const MALFORMED: [what: string, text: string, id: unknown][] = [
    ['nothing', '', null],
    ['no JSON', 'open uplink', null],
    ['an array', '[{"id":1,"op":"status"}]', null],
    ['null', 'null', null],
    ['a number', '7', null],
    ['a string with an object in it', '"{}"', null],
    ['an object that is not closed', '{"id":1,"op":"status"', null],
    ['two objects', '{"id":1,"op":"status"}{"id":2,"op":"status"}', null],
    ['rubbish behind it', '{"id":1,"op":"status"} x', null],
    ['a comma too many', '{"id":1,"op":"status",}', null],
    ['an empty object', '{}', null],
    ['no id', '{"op":"status"}', null],
    ['an id of null', '{"id":null,"op":"status"}', null],
    ['an id of true', '{"id":true,"op":"status"}', null],
    ['an id too long', `{"id":"${'x'.repeat(65)}","op":"status"}`, null],
    ['an id that no double holds', '{"id":9007199254740993,"op":"status"}', null],
    ['an infinite id', '{"id":1e999,"op":"status"}', null],
    ['an id of minus 2^53', '{"id":-9007199254740992,"op":"status"}', null],
    ['an id that is nested', '{"id":[1],"op":"status"}', null],
    ['nested values', '{"id":1,"op":"status","adapter":{}}', 1],
    ['a nested list', '{"op":"open","adapter":["uplink"],"id":"a"}', 'a'],
    ['a nested id', '{"id":1,"op":"open","adapter":{"id":2}}', 1],
    ['deep nesting', `{"id":7,"a":${'['.repeat(2000)}${']'.repeat(2000)}}`, 7],
    ['deep nesting that is not closed', `{"id":7,"a":${'['.repeat(4000)}`, null],
    ['no op', '{"id":1}', 1],
    ['an unknown op', '{"id":"a","op":"reset","adapter":"uplink"}', 'a'],
    ['an op that objects inherit', '{"id":1,"op":"constructor","adapter":"uplink"}', 1],
    ['no adapter', '{"id":1,"op":"open"}', 1],
    ['an adapter that is a number', '{"id":1,"op":"open","adapter":7}', 1],
    ['an adapter for status', '{"id":1,"op":"status","adapter":"uplink"}', 1],
    ['a key more', '{"id":1,"op":"open","adapter":"uplink","interface":"eth0"}', 1],
    ['a key twice', '{"id":1,"op":"open","adapter":"uplink","adapter":"other"}', 1],
    ['a key twice, once escaped', '{"id":1,"op":"open","adapter":"u","\\u0061dapter":"v"}', 1],
    ['__proto__', '{"id":1,"op":"status","__proto__":"x"}', 1],
    ['__proto__ for an op', '{"id":1,"__proto__":"status"}', 1],
  ];
  it.each(MALFORMED)('refuses %s', (_, text, id) => {
    expect(parse(text)).toEqual({ id, malformed: expect.stringMatching(/./) });
  });

  it.each(['{}', '["x","y"]'])('says that %s is nested', (value) => {
    const text = `{"id":1,"op":"status","adapter":${value}}`;
    expect(parse(text)).toEqual({ id: 1, malformed: 'a value is nested' });
  });

  it('refuses what is no UTF-8, or longer than 4 KiB', () => {
    const broken = bytes('{"id":"?","op":"status"}');
    broken[7] = 0xc3;
    expect(parseRequest(broken)).toMatchObject({ malformed: 'not UTF-8' });
    const request = '{"id":1,"op":"status"}';
    expect(parse(request + ' '.repeat(4096 - request.length))).toMatchObject({ op: 'status' });
    expect(parse(request + ' '.repeat(4097 - request.length))).toHaveProperty('malformed');
    expect(parseRequest(new Uint8Array(10 << 20))).toHaveProperty('malformed');
  });

  it('does not harm prototypes', () => {
    parse('{"id":1,"op":"status","__proto__":"polluted"}');
    expect(Object.keys(Object.prototype)).toEqual([]);
    expect(({} as Record<string, unknown>).op).toBeUndefined();
  });

  it('survives anything', () => {
    const valid = '{"id":1,"op":"open","adapter":"uplink"}';
    const near = fc
      .array(fc.tuple(fc.nat(valid.length), fc.nat(3), fc.string({ maxLength: 4 })), {
        maxLength: 4,
      })
      .map((edits) =>
        edits.reduce(
          (text, [at, cut, insert]) => text.slice(0, at) + insert + text.slice(at + cut),
          valid,
        ),
      );
    const input = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      near.map(bytes),
      fc.json().map(bytes),
    );
    fc.assert(
      fc.property(input, (payload) => {
        const request = parseRequest(payload);
        if ('malformed' in request) return;
        // Whoever reads the text otherwise reads the same.
        const { id, op, ...rest } = JSON.parse(new TextDecoder().decode(payload));
        expect(request).toEqual({ id, op, ...rest });
        expect(['open', 'close', 'renew', 'status']).toContain(op);
      }),
      { numRuns: 5000 },
    );
  });
});
