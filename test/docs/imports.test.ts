/** docs/development.md, "Rules": imports point down. A type may be imported from anywhere, as it is gone at run time. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const SRC = fileURLToPath(new URL('../../src', import.meta.url));

/** Each may import from those before it. What lies in src/ itself and is not named here is above all. */
const FLOORS = [
  [
    'version.ts',
    'printable.ts',
    'errno.ts',
    'exit-codes.ts',
    'beat.ts',
    'native.ts',
    'wire',
    'log.ts',
    'socket-path.ts',
    'token-buckets.ts',
  ],
  ['counters.ts', 'plan.ts', 'socket-file.ts', 'watcher.ts', 'storage'],
  ['virtio'],
  ['port'],
  ['routing'],
  ['adapter', 'control', 'handoff', 'vhost-user'],
  ['turn', 'turn.ts'],
  ['base'],
  ['config', 'supervision'],
  ['base-state.ts', 'admin'],
];
const TOP = FLOORS.length;

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) =>
  file.endsWith('.ts'),
);

function floor(file: string): number {
  const room = file.split('/')[0];
  const index = FLOORS.findIndex((rooms) => rooms.includes(room));
  return index < 0 ? TOP : index;
}

/** Files whose values a file imports. */
function imports(file: string): string[] {
  const text = readFileSync(join(SRC, file), 'utf8');
  return [...text.matchAll(/^(?:import|export)\s+(?!type\s)([^;]*?)\s*from\s+'(\.[^']+)'/gm)]
    .filter(([, names]) => {
      const inner = /^\{([\s\S]*)\}$/.exec(names.trim())?.[1];
      return !inner?.split(',').every((name) => /^\s*(type\s|$)/.test(name));
    })
    .map(([, , path]) => relative(SRC, normalize(join(SRC, dirname(file), path))));
}

test('every room of src/ is found', () => {
  const rooms = new Set(files.map((file) => file.split('/')[0]));
  for (const room of FLOORS.flat()) expect(rooms, room).toContain(room);
  expect(imports('turn.ts')).toContain('turn/gather.ts');
});

test.each(files)('%s imports nothing from above', (file) => {
  for (const target of imports(file)) {
    if (target.split('/')[0] === file.split('/')[0]) continue;
    expect(floor(target), target).toBeLessThanOrEqual(floor(file));
  }
});
