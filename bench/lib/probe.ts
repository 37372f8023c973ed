/** Runs one of `bench/probes/` as a process of its own, on the generator's core unless told. */
import { join } from 'node:path';
import { PROJECT } from './candidates.ts';
import type { Lab } from './lab.ts';
import { Child } from './process.ts';

export class Probe {
  readonly child: Child;
  private mark = 0;

  /** `nodeArgs`: options of node itself. */
  constructor(
    lab: Lab,
    name: string,
    argument: unknown,
    { nodeArgs = [] as string[], core = lab.cores.generator } = {},
  ) {
    const script = join(PROJECT, 'bench/probes', `${name}.ts`);
    this.child = new Child(
      name,
      process.execPath,
      [...nodeArgs, '--import', 'tsx', script, JSON.stringify(argument)],
      { core, cwd: PROJECT },
    );
  }

  /** The next result it prints. */
  async result<T>(seconds: number): Promise<T> {
    const [value, end] = await this.child.until(
      (output) => {
        const at = output.indexOf('RESULT ', this.mark);
        const newline = at < 0 ? -1 : output.indexOf('\n', at);
        return newline < 0
          ? null
          : ([JSON.parse(output.slice(at + 7, newline)) as T, newline] as const);
      },
      'a result',
      seconds,
    );
    this.mark = end;
    return value;
  }

  stop(): Promise<void> {
    return this.child.stop('SIGTERM', 2);
  }
}
