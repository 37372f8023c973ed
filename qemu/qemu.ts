// Which QEMU programs there are, and what each version needs.

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { which } from '../scripts/packages.mjs';
import { paths } from './paths.ts';

/** One QEMU: the program, its version as [major, minor], and arguments for its data folders. */
export interface Qemu {
  program: string;
  version: readonly [number, number];
  data: string[];
}

/** @returns the system's QEMU, or undefined where there is none */
export function systemQemu(): Qemu | undefined {
  const program = which('qemu-system-x86_64');
  return program ? { program, version: versionOf(program), data: [] } : undefined;
}

/** @returns the newer QEMU that set-up unpacked, or undefined */
export function newerQemu(): Qemu | undefined {
  const share = join(paths.newerQemu, 'usr/share');
  const program = join(paths.newerQemu, 'usr/bin/qemu-system-x86_64');
  if (!existsSync(program)) return undefined;
  const data = ['-L', join(share, 'qemu'), '-L', join(share, 'seabios')];
  return { program, version: versionOf(program), data };
}

function versionOf(program: string): readonly [number, number] {
  const text = execFileSync(program, ['--version'], { encoding: 'utf8' });
  const match = /version (\d+)\.(\d+)/.exec(text);
  return [Number(match?.[1] ?? 0), Number(match?.[2] ?? 0)];
}
