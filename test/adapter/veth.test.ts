/**
 * The adapter on a real veth pair, with the real addon: the scenarios of veth/scenarios.ts, played by one process in a network
 * namespace of its own, which ends with it.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const program = fileURLToPath(new URL('./veth/scenarios.ts', import.meta.url));
const addon = fileURLToPath(new URL('../../build/Release/basewire.node', import.meta.url));

/** Why it can't run here, or ''. */
function lacking(): string {
  if (!existsSync(addon)) return 'the addon is not built: npm run build';
  try {
    const words = ['-n', 'ip', 'link', 'add', 'bw0', 'type', 'veth', 'peer', 'name', 'bw1'];
    execFileSync('unshare', words, { stdio: 'pipe' });
    return '';
  } catch (error) {
    const { stderr } = error as { stderr?: Buffer };
    return `no network namespace with a veth pair: ${stderr?.toString().trim() || error}`;
  }
}

const NAMES = [
  'announces its addresses when it opens',
  'sends a datagram to a neighbour it asked for, byte by byte',
  'takes datagrams in, byte by byte',
  'answers ARP for listed addresses only, and is not poisoned',
  'gives up on a neighbour that does not answer',
  'asks a neighbour in use again before it is forgotten',
  'follows its interface down and up',
  'forgets what waited to leave when its interface goes down',
  'waits for a deleted interface to come back',
  'takes a renamed interface for gone',
  'knows its interface by an alternative name',
  'believes nothing older when messages of the kernel were lost',
  'follows MTU and MAC',
  'passes segmentation and checksum work through, both ways',
  'drops what carries a VLAN tag',
  'sends in the midst of a turn what its ring has no room for',
  'keeps places for others when one VM sends more than a slow interface carries',
  'is not held up by frames that its interface refuses',
  'keeps the order of long frames behind those that its interface refuses',
  'is not told of frames while turns run, and is again before it sleeps',
  'takes a frame before its block is handed over, and is woken by it',
  'hears nothing of frames for others, and of the host’s where it has a MAC of its own',
  'hears nothing of frames for others',
  'reads whole frames while another core is writing there',
  'sleeps until a slow interface has room',
  'takes a header that the kernel refuses out of the ring',
  'counts what the kernel could not put into the receive ring',
  'goes on in the middle of a block',
  'speaks with a MAC of its own where one is configured',
  'talks to a host’s own stack',
  'couples datagrams of one UDP flow, and a host gets each',
  'couples where the kernel cuts before the interface, and only there',
  'says why it could not be opened, and opens later',
  'sends broadcasts and multicasts without asking',
  'leaves no descriptor and no mapping behind',
];

const reason = lacking();

describe.skipIf(reason !== '')(`an adapter on a veth pair${reason && ` (${reason})`}`, () => {
  const results = new Map<string, string | null>();
  let child: ChildProcess;
  let complaints = '';
  let ended = false;
  let wake = () => {};

  beforeAll(() => {
    child = spawn('unshare', ['-n', process.execPath, '--import', 'tsx', program], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const { name, error } = JSON.parse(line) as { name: string; error: string | null };
      results.set(name, error);
      wake();
    });
    child.stderr!.on('data', (chunk: Buffer) => {
      complaints += chunk.toString();
    });
    child.on('close', () => {
      ended = true;
      wake();
    });
  });

  afterAll(() => {
    child.kill('SIGKILL');
  });

  it.each(NAMES)('%s', async (name) => {
    while (!results.has(name) && !ended) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    const error = results.get(name);
    if (error === undefined) throw new Error(`not played: ${complaints}`);
    if (error !== null) throw new Error(error);
  });

  it('shows every scenario that is played', async () => {
    while (!ended) {
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
    expect([...results.keys()].filter((name) => !NAMES.includes(name))).toEqual([]);
  });
});
