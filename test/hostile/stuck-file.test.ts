/**
 * Ranked case 13: memory that is a file of a file system (FUSE) whose process never answers. Whoever asks for its attributes, or closes it, waits for ever;
 * it is refused without either. Needs root and /dev/fuse.
 */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { useFixture } from '../support/fixture.ts';
import { until } from '../support/until.ts';

/** File system, front-end and file in one process: closing the file would wait for it, too, so nobody else may have it. */
const PROGRAM = `
import ctypes, os, socket, struct, sys, threading
path, back_end = sys.argv[1:]
device = os.open('/dev/fuse', os.O_RDWR)
options = 'fd=%d,rootmode=100666,user_id=0,group_id=0' % device
if ctypes.CDLL(None).mount(b'none', path.encode(), b'fuse', 0, options.encode()) != 0: sys.exit('no FUSE')
silent = False
asked = []
def serve():
    while True:
        try: request = os.read(device, 1 << 18)
        except OSError: return
        _, operation, unique = struct.unpack_from('<IIQ', request)
        if silent:
            asked.append(operation)
            continue
        if operation == 26: body = struct.pack('<IIIIHHII', 7, 31, 0, 0, 0, 0, 1 << 16, 1) + bytes(36)
        elif operation == 14: body = bytes(16)
        elif operation == 3: body = bytes(16) + struct.pack('<6Q10I', 1, 1 << 20, 0, 0, 0, 0, 0, 0, 0, 0o100666, 1, 0, 0, 0, 4096, 0)
        else: body = None
        error = -38 if body is None else 0
        body = body or b''
        os.write(device, struct.pack('<IiQ', 16 + len(body), error, unique) + body)
threading.Thread(target=serve, daemon=True).start()
memory = os.open(path, os.O_RDWR)
silent = True
front = socket.socket(socket.AF_UNIX)
front.connect(back_end)
front.sendall(struct.pack('<IIIQ', 16, 1, 8, 1 << 3 | 1 << 15))
honest = os.memfd_create('memory')
os.ftruncate(honest, 1 << 16)
region = struct.pack('<5Q', 0, 0, 1 << 16, 1 << 40, 0)
for request, payload, file in [
    (37, region, honest), # ADD_MEM_REG
    (37, region, memory), # as if it were the same again
    (5, struct.pack('<II4Q', 1, 0, 0, 1 << 16, 1 << 40, 0), memory), # SET_MEM_TABLE
    (13, struct.pack('<Q', 0), memory), # SET_VRING_CALL
    (3, b'', memory), # SET_OWNER, which takes none
]:
    socket.send_fds(front, [struct.pack('<III', request, 9, len(payload)) + payload], [file])
    print('answer', struct.unpack_from('<Q', front.recv(20), 12)[0], flush=True)
sys.stdin.read()
print('asked', sorted(set(asked) - {25}), flush=True)
os._exit(0)
`;

/** Ends all waiting for the file system. */
function forget(path: string): void {
  execFileSync('sh', ['-c', 'umount -f "$0" 2>/dev/null; umount -l "$0" 2>/dev/null; :', path]);
}

const reason =
  process.getuid?.() === 0 && existsSync('/dev/fuse') ? '' : ' (needs root and /dev/fuse)';

describe.skipIf(reason !== '')(`a file that never answers${reason}`, () => {
  const fixture = useFixture();

  test('as memory, as a descriptor to call, and where none belongs: refused, nobody waits', async () => {
    const { daemon, flow } = fixture();
    const restarts = async () =>
      ((await daemon.status()) as unknown as { workerRestarts: number }).workerRestarts;
    const before = await restarts();
    const folder = mkdtempSync(join(tmpdir(), 'basewire-stuck-'));
    const path = join(folder, 'memory');
    writeFileSync(path, '');
    const child = spawn('python3', ['-c', PROGRAM, path, daemon.socket('a')], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    fixture().connections++;
    try {
      await until('five answers', () => said.split('\n').length === 6);
      expect(said).toBe('answer 0\nanswer 1\nanswer 1\nanswer 1\nanswer 1\n');
      // Longer than the watchdog of the turn worker would let it stand still.
      const start = performance.now();
      while (performance.now() - start < 2500) await flow.advance(20);
      expect(await restarts()).toBe(before);
      child.stdin.end();
      await until('what it was asked', () => said.includes('asked'));
      forget(path); // before that nobody who has the file can end
      await until('it to end', () => child.exitCode !== null);
      // It was asked to flush by those who closed the file, and nothing else.
      expect(said).toContain('asked []');
    } finally {
      child.kill('SIGKILL');
      forget(path);
      rmSync(folder, { recursive: true, force: true });
    }
    await daemon.untilState('a', 'waiting');
    await fixture().goodPasses(await fixture().attacker());
  });
});
