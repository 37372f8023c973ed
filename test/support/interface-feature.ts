/**
 * Switches a feature of a network interface, as ethtool -K does (linux/ethtool.h: ETHTOOL_SFEATURES): ethtool itself is not installed
 * everywhere, and python3 is wherever the addon was built.
 */
import { execFileSync } from 'node:child_process';

const PROGRAM = `
import array, fcntl, socket, struct, sys
SIOCETHTOOL, GSTRINGS, GSSET_INFO, SFEATURES, FEATURES = 0x8946, 0x1b, 0x37, 0x3b, 4
name, feature, on = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3] == 'on'
asker = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def ask(data):
    buffer = array.array('B', data)
    fcntl.ioctl(asker, SIOCETHTOOL, struct.pack('16sP16x', name, buffer.buffer_info()[0]))
    return buffer.tobytes()
count, = struct.unpack_from('I', ask(struct.pack('IIQI', GSSET_INFO, 0, 1 << FEATURES, 0)), 16)
texts = ask(struct.pack('III', GSTRINGS, FEATURES, count) + bytes(32 * count))[12:]
bit = [texts[32 * n:32 * n + 32].split(b'\\0')[0] for n in range(count)].index(feature)
blocks = (count + 31) // 32
words = [0, 0] * blocks
words[bit // 32 * 2] = 1 << bit % 32
words[bit // 32 * 2 + 1] = int(on) << bit % 32
ask(struct.pack('II%dI' % len(words), SFEATURES, blocks, *words))
`;

/** `namespace`: of the interface, where it is another than ours. */
export function setFeature(
  interfaceName: string,
  feature: string,
  on: boolean,
  namespace?: string,
): void {
  const there = namespace === undefined ? [] : ['ip', 'netns', 'exec', namespace];
  const [program, ...words] = [...there, 'python3', '-c', PROGRAM];
  execFileSync(program, [...words, interfaceName, feature, on ? 'on' : 'off']);
}
