/** Logs never block, never grow and never end the daemon, whoever reads them. */
import { execFileSync } from 'node:child_process';
import fs, { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import { Log, LogLimiter, toText } from '../../src/log.ts';
import { pause, until } from '../support/until.ts';
import { testFolder } from './folder.ts';

/** A FIFO: its reading end (non-blocking) and a writing end. */
function pipe(): { reader: number; writer: number } {
  const path = join(testFolder(), 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return { reader, writer: openSync(path, constants.O_WRONLY) };
}

it('writes JSON lines with level, time and message', async () => {
  const path = join(testFolder(), 'log');
  const fd = openSync(path, 'w');
  const log = new Log({ level: 'warn', format: 'json', fd });
  log.logger.info('not this');
  log.logger.warn({ vm: 'web' }, 'ring broken');
  log.ready({ vms: 1 });
  await log.close(1000);
  const lines = readFileSync(path, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(lines).toMatchObject([
    { level: 'warn', vm: 'web', msg: 'ring broken' },
    { level: 'info', msg: 'ready', vms: 1 },
  ]);
  expect(Date.parse(lines[0].time)).toBeGreaterThan(0);
});

it.each(['json', 'text'] as const)(
  'tells systemd’s journal the priority of a line: %s',
  async (format) => {
    const written = async (stream: string | undefined) => {
      const path = join(testFolder(), 'log');
      const fd = openSync(path, 'w');
      const { dev, ino } = fs.fstatSync(fd);
      vi.stubEnv('JOURNAL_STREAM', stream ?? `${dev}:${ino}`);
      const log = new Log({ level: 'info', format, fd });
      log.logger.warn('careful');
      log.ready({});
      await log.close(1000);
      return readFileSync(path, 'utf8').trim().split('\n');
    };
    try {
      const lines = await written(undefined);
      expect(lines.map((line) => line.slice(0, 3))).toEqual(['<4>', '<6>']);
      expect(lines[0]).toContain('careful');
      // Somebody else's: the variable is inherited, and the output was led elsewhere.
      expect((await written('8:12345')).join()).not.toMatch(/<\d>/);
    } finally {
      vi.unstubAllEnvs();
    }
  },
);

it('a reader that stands still costs lines, which are counted, and goes on when it reads again', async () => {
  const { reader, writer } = pipe();
  onTestFinished(() => closeSync(reader));
  const log = new Log({ level: 'info', format: 'json', fd: writer });
  const filler = 'x'.repeat(1000);
  for (let i = 0; i < 5000; i++) log.logger.info({ filler }, 'line');
  expect(log.dropped).toBeGreaterThan(3000);
  expect(log.dropped).toBeLessThan(5000);
  // Asynchronous: the event loop was never held up, and the reader finds whole lines.
  const buffer = new Uint8Array(1 << 20);
  let text = '';
  await until('what fitted to arrive', () => {
    try {
      text += new TextDecoder().decode(buffer.subarray(0, readSync(reader, buffer)));
    } catch (error) {
      expect((error as NodeJS.ErrnoException).code).toBe('EAGAIN');
    }
    return text.split('\n').length - 1 === 5000 - log.dropped;
  });
  for (const line of text.trim().split('\n')) expect(JSON.parse(line).msg).toBe('line');
  await log.close(1000);
  closeSync(writer);
});

it('closing does not wait for a reader that never reads', async () => {
  const { reader, writer } = pipe();
  onTestFinished(() => closeSync(reader));
  const log = new Log({ level: 'info', format: 'json', fd: writer });
  for (let i = 0; i < 500; i++) log.logger.info({ filler: 'x'.repeat(1000) }, 'line');
  let closed = false;
  void log.close(50).then(() => {
    closed = true;
  });
  await until('the end', () => closed);
  closeSync(writer);
});

it('a reader that is gone costs lines only', async () => {
  const { reader, writer } = pipe();
  const log = new Log({ level: 'info', format: 'json', fd: writer });
  closeSync(reader);
  log.logger.info('nobody reads this');
  await until('the loss to be noticed', () => log.dropped > 0);
  const before = log.dropped;
  for (let i = 0; i < 10; i++) log.logger.info('nor this');
  await until('more losses', () => log.dropped >= before + 10);
  await log.close(100);
  closeSync(writer);
});

it('a full disk costs lines only', async () => {
  const fd = openSync('/dev/full', 'w');
  const log = new Log({ level: 'info', format: 'json', fd });
  const filler = 'x'.repeat(1000);
  for (let i = 0; i < 2000; i++) log.logger.info({ filler }, 'no room for this');
  await until('the loss to be noticed', () => log.dropped > 0);
  await log.close(100);
  closeSync(fd);
});

it('what waited for a full disk to have room is written then, and not counted as lost', async () => {
  const path = join(testFolder(), 'log');
  const log = new Log({ level: 'info', format: 'json', fd: openSync(path, 'w') });
  const full = vi.spyOn(fs, 'write').mockImplementation(((...words: unknown[]) => {
    const done = words.at(-1) as (error: Error) => void;
    setImmediate(() => done(Object.assign(new Error('full'), { code: 'ENOSPC' })));
  }) as never);
  for (let tries = 1; tries <= 5; tries++) {
    log.logger.info({ tries }, 'no room yet');
    await until('the attempt to write', () => full.mock.calls.length >= tries);
    await pause();
  }
  full.mockRestore();
  log.logger.info({ tries: 6 }, 'room');
  await log.close(1000);
  const lines = readFileSync(path, 'utf8').trim().split('\n');
  expect(lines.map((line) => JSON.parse(line).tries)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(log.dropped).toBe(0);
});

it('what is logged after the end is counted as lost, and no error', async () => {
  const path = join(testFolder(), 'log');
  const log = new Log({ level: 'info', format: 'json', fd: openSync(path, 'w') });
  log.logger.info('in time');
  const closed = log.close(1000);
  log.logger.info('too late');
  await closed;
  log.logger.info('later still');
  log.ready({});
  expect(log.dropped).toBe(3);
  expect(readFileSync(path, 'utf8').trim().split('\n')).toHaveLength(1);
});

it('text for people has no control characters', () => {
  const line = JSON.stringify({
    level: 'info',
    time: '2030-01-02T03:04:05.678Z',
    pid: 1,
    vm: 'web',
    msg: 'a\u001b[2J"b"',
    n: 1,
  });
  expect(toText(line)).toBe('03:04:05.678Z info  vm web: a\\u001b[2J"b" {"n":1}\n');
});

it('the limiter lets a burst through, then a trickle, per key, and counts', () => {
  let now = 0;
  const limiter = new LogLimiter(3, 1, () => now);
  const results = (key: string, count: number) =>
    Array.from({ length: count }, () => limiter.pass(key));
  expect(results('web', 5)).toEqual([0, 0, 0, -1, -1]);
  expect(results('db', 1)).toEqual([0]);
  now = 1000;
  expect(results('web', 2)).toEqual([2, -1]);
  now = 1_000_000;
  expect(results('web', 4)).toEqual([1, 0, 0, -1]);
});
