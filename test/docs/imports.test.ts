/** docs/development.md, "Rules": imports point down, those of types, too: nobody can read a file without the ones that its types are in. */
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

/** Files that a file imports something from. */
function imports(file: string): string[] {
  const text = readFileSync(join(SRC, file), 'utf8');
  return [...text.matchAll(/^(?:import|export)\s[^;]*?\sfrom\s+'(\.[^']+)'/gm)].map(([, path]) =>
    relative(SRC, normalize(join(SRC, dirname(file), path))),
  );
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
