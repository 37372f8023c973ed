// The management guest's script, with a `nc` of our own in front of its path that answers as a
// base would, from a list; each request is kept. Time passes fast: `sleep` is ours, too.

import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '../support/until.ts';

const SCRIPT = fileURLToPath(new URL('../../qemu/guest/basewire-control', import.meta.url));
const OPEN =
  '{"id":ID,"ok":true,"adapter":"uplink","state":"open","interface":"eth1","mac":"52:54:00:12:34:56","mtu":1500,"lease":10}';
const HELD = '{"id":ID,"ok":false,"error":"held","message":"held by controller"}';
/** While a more preferred one is waited for. */
const NOBODY =
  '{"id":ID,"ok":false,"error":"held","message":"nobody holds the lease: send open, again if a more preferred controller waits"}';

let folder: string;
let end: () => Promise<void>;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'basewire-control-'));
});
afterEach(async () => {
  await end();
  rmSync(folder, { recursive: true, force: true });
});

/**
 * Starts the script; answer N of the list goes to request N, '' is a lost one, the last repeats; each takes so many seconds, and each
 * pause between two requests `pauses` of them.
 */
function start(
  answers: string[],
  takes = '0',
  pauses = '0.05',
): { child: ReturnType<typeof spawn>; output: () => string } {
  for (const [index, answer] of answers.entries()) {
    writeFileSync(join(folder, `answer${index + 1}`), answer);
  }
  const program = (name: string, body: string): void => {
    writeFileSync(join(folder, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(folder, name), 0o755);
  };
  program(
    'nc',
    `request=$(cat); echo "$request" >>${folder}/requests
echo "$@" >>${folder}/arguments
n=$(wc -l <${folder}/requests); [ "$n" -gt ${answers.length} ] && n=${answers.length}
/bin/sleep ${takes}
id=$(echo "$request" | sed 's/.*"id":\\([0-9]*\\).*/\\1/')
sed "s/ID/$id/" "${folder}/answer$n"`,
  );
  // The short ones wait for an answer; they are not what is told of.
  program(
    'sleep',
    `[ "$1" = 0.1 ] && exec /bin/sleep 0.05; echo "$1" >>${folder}/sleeps; exec /bin/sleep ${pauses}`,
  );
  const child = spawn('sh', [SCRIPT, 'uplink', '10.77.0.1'], {
    env: { PATH: `${folder}:${process.env.PATH}`, BASEWIRE_STATE: join(folder, 'state') },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let text = '';
  child.stdout.on('data', (data) => {
    text += data;
  });
  child.stderr.on('data', (data) => {
    text += data;
  });
  const ended = new Promise((resolve) => child.on('close', resolve));
  end = async () => {
    child.kill('SIGTERM');
    await ended;
  };
  return { child, output: () => text };
}

function lines(name: string): string[] {
  const file = join(folder, name);
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
}

const operations = (): string[] =>
  lines('requests').map((line) => (JSON.parse(line) as { op: string }).op);

const untilRequests = (count: number): Promise<boolean> =>
  until(`${count} requests`, () => lines('requests').length >= count, 15_000);

test('opens, then renews three times in a lease, and gives back on TERM', async () => {
  const { output } = start([OPEN]);
  await untilRequests(3);
  await end();
  const all = operations();
  expect(all.slice(0, 3)).toEqual(['open', 'renew', 'renew']);
  expect(all.at(-1)).toBe('close');
  expectPauses(10 / 3);
  expect(lines('arguments')[0]).toBe('-u -w 3 10.77.0.1 7356');
  expect(output()).toContain('open interface=eth1 mac=52:54:00:12:34:56 mtu=1500 lease=10');
  expect(output().match(/open interface/g)).toHaveLength(1);
  expect(readFileSync(join(folder, 'state'), 'utf8')).toContain('closed');
});

test('gives back on TERM what may be granted: the answer is on its way', async () => {
  const { output } = start([OPEN], '1');
  await untilRequests(1);
  await end();
  expect(operations()).toEqual(['open', 'close']);
  expect(output()).toContain('closed');
});

test('gives back on TERM what may be granted: the answer was lost', async () => {
  start([''], '0', '60');
  await until('the answer is missed', () => lines('sleeps').length > 0, 15_000);
  await end();
  expect(operations()).toEqual(['open', 'close']);
});

test.each([
  ['unavailable', ['open', 'close']], // the lease lasts while an interface is gone
  ['held', ['open']],
  ['forbidden', ['open']],
])('after a refusal (%s) TERM closes only what may be its own', async (error, expected) => {
  start([`{"id":ID,"ok":false,"error":"${error}","message":"no"}`], '0', '60');
  await until('it is refused', () => lines('sleeps').length > 0, 15_000);
  await end();
  expect(operations()).toEqual(expected);
});

/** At the most, and more than nothing: less where what went before took long. */
function expectPauses(atMost: number): void {
  const pauses = lines('sleeps').map(Number);
  expect(pauses.length).toBeGreaterThan(0);
  for (const pause of pauses) {
    expect(pause).toBeGreaterThan(0);
    expect(pause).toBeLessThanOrEqual(atMost);
  }
}

test.each([1, 2])('a lease of %i s is renewed three times, too', async (lease) => {
  start([OPEN.replace('"lease":10', `"lease":${lease}`)]);
  await untilRequests(3);
  await end();
  expectPauses(lease / 3);
});

test('what an answer takes goes off the pause before the next renewal', async () => {
  start([OPEN], '1');
  await untilRequests(3);
  await end();
  // An answer is looked for each 0.05 s, and /proc/uptime has hundredths.
  expectPauses(10 / 3 - 0.98);
});

test('an answer about another adapter is not taken', async () => {
  start([OPEN.replace('"uplink"', '"uplink2"'), OPEN]);
  await untilRequests(3);
  expect(operations().slice(0, 3)).toEqual(['open', 'open', 'renew']);
});

test('says that the interface of an open adapter is gone', async () => {
  const { output } = start([OPEN.replace('"state":"open"', '"state":"gone"')]);
  await untilRequests(2);
  expect(output()).toMatch(/open interface=eth1 .* lease=10 state=gone/);
});

test('each request has its own id, and an answer to another is not taken', async () => {
  start([OPEN.replace('ID', '99'), OPEN]);
  await untilRequests(3);
  const ids = lines('requests').map((line) => (JSON.parse(line) as { id: number }).id);
  expect(ids.slice(0, 3)).toEqual([1, 2, 3]);
  expect(operations().slice(0, 3)).toEqual(['open', 'open', 'renew']);
});

test('a stand-by asks again until the lease of the other has ended', async () => {
  const { output } = start([HELD, NOBODY, OPEN]);
  await untilRequests(4);
  expect(operations().slice(0, 4)).toEqual(['open', 'open', 'open', 'renew']);
  expect(output().match(/waiting another management guest holds it, or goes first/g)).toHaveLength(
    1,
  );
});

test('a lost answer is asked for again at once, and costs no lease', async () => {
  start([OPEN, '', '', OPEN]);
  await untilRequests(5);
  expect(operations().slice(0, 5)).toEqual(['open', 'renew', 'renew', 'renew', 'renew']);
});

test('a base that has forgotten the lease is asked to open anew', async () => {
  start([OPEN, '{"id":ID,"ok":false,"error":"held","message":"not the holder"}', OPEN]);
  await untilRequests(4);
  expect(operations().slice(0, 4)).toEqual(['open', 'renew', 'open', 'renew']);
});

test('the system refusing is told with its reason; a refusal asks on, but seldom', async () => {
  const unavailable = '{"id":ID,"ok":false,"error":"unavailable","message":"No such device"}';
  const forbidden = '{"id":ID,"ok":false,"error":"forbidden","message":"not a management guest"}';
  const { output } = start([unavailable, forbidden]);
  await untilRequests(3);
  expect(output()).toContain('waiting No such device');
  expect(output()).toContain('refused forbidden: not a management guest');
  expect(lines('sleeps').slice(0, 2)).toEqual(['2', '10']);
});

test('nothing that a base answers breaks it', async () => {
  start([
    'not JSON',
    '{"id":ID',
    '{"id":ID,"ok":true,"lease":"$(touch pwned)"}',
    '{"id":ID,"ok":true,"lease":08}',
    '{"id":ID,"ok":true,"lease":99999999999999999999}',
    '{"id":ID,"ok":true}',
  ]);
  await untilRequests(8);
  expect(operations().slice(0, 7)).toEqual([
    ...['open', 'open', 'open'],
    ...['renew', 'renew', 'renew', 'renew'],
  ]);
  expect(existsSync(join(folder, 'pwned'))).toBe(false);
});
