// A person's terminal on a guest's console, until Ctrl-] is typed.

import type { Vm } from '../vm.ts';

const LEAVE = '\x1d';

/** Joins the terminal to the guest's console; resolves when the person leaves. */
export function attachConsole(vm: Vm): Promise<void> {
  const { stdin, stdout } = process;
  const show = (text: string): void => {
    stdout.write(text);
  };
  return new Promise((resolve) => {
    const type = (data: Buffer): void => {
      const text = data.toString('utf8');
      if (text.includes(LEAVE)) {
        vm.console.off('data', show);
        stdin.off('data', type);
        stdin.setRawMode(false);
        stdin.pause();
        resolve();
      } else vm.console.write(text);
    };
    stdin.setRawMode(true);
    stdin.resume();
    stdin.on('data', type);
    vm.console.on('data', show);
    // The shell shows its prompt again.
    vm.console.write('\n');
  });
}
