// Set-up steps with visible progress, in plain Node (it runs before anything is installed): one
// line per step that had something to do, with the seconds it took; a log file per step under
// `.cache/log/`; and failures that say what lacks and the command that brings it.

import { spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder (where package.json lies). */
export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
/** Everything set-up makes that is no build output: guest image, logs, stamps. Not committed. */
export const cache = join(root, '.cache');

/** A set-up failure in words for the person at the terminal: `message`, then `remedy` lines. */
export class SetupError extends Error {
  /** @param {string} message @param {string[]} remedy */
  constructor(message, remedy = []) {
    super(message);
    this.remedy = remedy;
  }
}

const terminal = process.stdout.isTTY === true;

/**
 * Runs one step that has work to do and shows it: on a terminal a line whose seconds count up,
 * otherwise the line when it starts to last (2 s) and when it is done.
 * @template T @param {string} title @param {(note: (text: string) => void) => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function step(title, work) {
  const start = Date.now();
  const seconds = () => ((Date.now() - start) / 1000).toFixed(1);
  let detail = '';
  let said = false;
  const show = () => {
    if (terminal) process.stdout.write(`\r\x1b[K· ${title} (${seconds()} s) ${detail}`);
    else if (!said && Date.now() - start > 2000) {
      said = true;
      process.stdout.write(`· ${title} ...\n`);
    }
  };
  const timer = setInterval(show, 500);
  if (terminal) show();
  const end = (mark, rest = '') => {
    clearInterval(timer);
    if (terminal) process.stdout.write('\r\x1b[K');
    process.stdout.write(`${mark} ${title} (${seconds()} s)${rest}\n`);
  };
  try {
    const result = await work((text) => {
      detail = text;
    });
    end('✓');
    return result;
  } catch (error) {
    end('✗');
    throw error;
  }
}

/**
 * Runs a program without a terminal and without input; its output goes to `.cache/log/NAME.log`.
 * @param {string} name log's name @param {string} program @param {string[]} args
 * @param {{env?: NodeJS.ProcessEnv, cwd?: string}} options
 * @returns {Promise<void>} rejects with a SetupError that carries the log's last lines
 */
export function run(name, program, args, options = {}) {
  mkdirSync(join(cache, 'log'), { recursive: true });
  const file = join(cache, 'log', `${name}.log`);
  const log = createWriteStream(file);
  const line = `${program} ${args.join(' ')}`;
  log.write(`$ ${line}\n`);
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: options.cwd ?? root,
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    child.on('error', (error) => {
      log.end();
      reject(new SetupError(`${program} could not be started: ${error.message}`));
    });
    child.on('close', (code, signal) => {
      log.end(() => {
        if (code === 0) return resolve();
        const tail = readFileSync(file, 'utf8').trimEnd().split('\n').slice(-15);
        const how = code === null ? `was ended by ${signal}` : `ended with code ${code}`;
        reject(
          new SetupError(`\`${line}\` ${how}. Its last lines:`, [
            ...tail.map((text) => `    ${text}`),
            `The whole log: ${file}`,
          ]),
        );
      });
    });
  });
}

/** Prints a failure for a person and sets the exit code; a stack only for what is our own bug. */
export function complain(error) {
  if (error instanceof SetupError) {
    process.stderr.write(`\n${error.message}\n`);
    for (const line of error.remedy) process.stderr.write(`${line}\n`);
  } else {
    process.stderr.write(`\n${error?.stack ?? error}\n`);
  }
  process.exitCode = 1;
}
