/**
 * Logs: JSON lines on stdout through pino, asynchronous and bounded.
 *
 * Whoever reads our stdout may be slow, stopped or gone. None of that may block the daemon, end it or fill its
 * memory: what doesn't fit is dropped and counted (`logDropped` in the status, `basewire_log_dropped_total`).
 * What a guest or front-end can cause is limited per VM and adapter besides (LogLimiter).
 */
import { constants, fstatSync, openSync } from 'node:fs';
import pino, { type Logger } from 'pino';
import { VERSION } from './version.ts';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal';

const JOURNAL_PRIORITIES: Record<LogLevel, number> = {
  trace: 7,
  debug: 7,
  info: 6,
  warn: 4,
  error: 3,
  fatal: 2,
};

/** Bytes that may wait for a slow reader. */
const MAX_WAITING_BYTES = 1024 * 1024;

export interface LogOptions {
  level: LogLevel;
  format: 'json' | 'text';
  /** Descriptor to write to. */
  fd?: number;
}

export class Log {
  readonly logger: Logger;
  /** Lines lost since the start. */
  dropped = 0;
  readonly #output: ReturnType<typeof pino.destination>;
  readonly #ownFd: number;
  #gone = false;

  constructor(options: LogOptions) {
    const fd = options.fd ?? 1;
    this.#ownFd = reopenNonBlocking(fd);
    this.#output = pino.destination({
      fd: this.#ownFd >= 0 ? this.#ownFd : fd,
      sync: false,
      minLength: 0,
      maxLength: MAX_WAITING_BYTES,
    });
    this.#output.on('drop', () => {
      this.dropped += 1;
    });
    this.#output.on('error', (error: NodeJS.ErrnoException) => {
      // ENOSPC and others: what waits is written with a later line. While it lasts, lines are lost when too many wait.
      if (error.code !== 'EPIPE') return;
      // Nobody will ever read this again.
      this.dropped += 1;
      this.#gone = true;
    });
    this.#output.on('close', () => {
      this.#gone = true;
    });
    const text = options.format === 'text';
    const journal = leadsToJournal(fd);
    const stream = {
      write: (line: string) => {
        if (this.#gone) this.dropped += 1;
        else this.#output.write((journal ? priorityOf(line) : '') + (text ? toText(line) : line));
      },
    };
    this.logger = pino(
      {
        level: options.level,
        base: { pid: process.pid },
        timestamp: pino.stdTimeFunctions.isoTime,
        formatters: { level: (label) => ({ level: label }) },
      },
      stream,
    );
  }

  /** Says that the daemon serves, whatever the level: supervisors and scripts wait for this line. */
  ready(fields: Record<string, unknown>): void {
    this.logger.child({}, { level: 'info' }).info({ version: VERSION, ...fields }, 'ready');
  }

  /** Waits until what was logged is written, at most `milliseconds`. */
  async close(milliseconds: number): Promise<void> {
    if (this.#gone) return;
    // Whatever is logged from now on is lost, and no error.
    this.#gone = true;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      const done = () => {
        clearTimeout(timer);
        resolve();
      };
      this.#output.once('close', done);
      this.#output.once('error', done);
      this.#output.end();
    });
    // What could not be written (a full disk) it would go on trying to write, and nothing would end us.
    this.#output.destroy();
  }
}

/**
 * A second, non-blocking description of a pipe or terminal, so that a full one gives EAGAIN instead of a stuck thread, and
 * without touching the flags that other processes share. -1 where that isn't possible (a socket) or needed (a file).
 */
function reopenNonBlocking(fd: number): number {
  try {
    const status = fstatSync(fd);
    if (!status.isFIFO() && !status.isCharacterDevice()) return -1;
    return openSync(
      `/proc/self/fd/${fd}`,
      constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY | constants.O_APPEND,
    );
  } catch {
    return -1;
  }
}

/** Whether that is systemd's journal, which says in JOURNAL_STREAM which file it made for us (systemd.exec(5)). */
function leadsToJournal(fd: number): boolean {
  const stream = process.env.JOURNAL_STREAM;
  if (stream === undefined) return false;
  try {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    return stream === `${dev}:${ino}`;
  } catch {
    return false;
  }
}

/** What the journal takes for a line's priority, and off it (sd-daemon(3)). */
function priorityOf(line: string): string {
  const level = /^\{"level":"(\w+)"/.exec(line)?.[1];
  return `<${JOURNAL_PRIORITIES[level as LogLevel] ?? JOURNAL_PRIORITIES.info}>`;
}

/** One line for people: time (UTC, as the Z says), level, who, message, the rest as JSON. */
export function toText(line: string): string {
  const { time, level, pid: _pid, msg, vm, adapter, ...rest } = JSON.parse(line);
  const who = [vm && `vm ${vm}`, adapter && `adapter ${adapter}`].filter(Boolean).join(', ');
  const fields = Object.keys(rest).length ? ` ${JSON.stringify(rest)}` : '';
  const message = JSON.stringify(String(msg ?? ''))
    .slice(1, -1)
    .replaceAll('\\"', '"');
  return `${String(time).slice(11, 24)} ${String(level).padEnd(5)} ${who && `${who}: `}${message}${fields}\n`;
}

/** Lets through a burst per key, then a trickle, and says how many lines it kept back. */
export class LogLimiter {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #now: () => number;
  readonly #keys = new Map<string, { tokens: number; at: number; kept: number }>();

  /** `now` gives monotonic milliseconds. */
  constructor(burst = 40, perSecond = 2, now: () => number = () => performance.now()) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#now = now;
  }

  /** -1: keep this line back. Otherwise how many lines were kept back since the last one that passed. */
  pass(key: string): number {
    const now = this.#now();
    let bucket = this.#keys.get(key);
    if (!bucket) {
      bucket = { tokens: this.#burst, at: now, kept: 0 };
      this.#keys.set(key, bucket);
    }
    const earned = ((now - bucket.at) / 1000) * this.#perSecond;
    bucket.tokens = Math.min(this.#burst, bucket.tokens + earned);
    bucket.at = now;
    if (bucket.tokens < 1) {
      bucket.kept += 1;
      return -1;
    }
    bucket.tokens -= 1;
    const kept = bucket.kept;
    bucket.kept = 0;
    return kept;
  }
}
