// A host on the test LAN, run inside its network namespace: echoes what comes to the echo port, prints a line of JSON for each
// datagram that comes to the sink port, and sends what lines of JSON on its standard input ask for. Plain JavaScript: Node 20 runs no
// TypeScript by itself.
import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';

const [echoPort, sinkPort] = process.argv.slice(2).map(Number);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const echo = createSocket({ type: 'udp4', recvBufferSize: 1 << 22 });
echo.on('message', (message, from) => echo.send(message, from.port, from.address));
const sink = createSocket('udp4');
sink.on('message', (message, from) =>
  say({ from: from.address, text: message.toString('latin1').slice(0, 100) }),
);
echo.bind(echoPort, () => sink.bind(sinkPort, () => say({ ready: true })));

createInterface({ input: process.stdin }).on('line', (line) => {
  const { address, port, text, ttl } = JSON.parse(line);
  // A socket of its own: whether its datagrams may be fragmented is decided when it is made. It stays open, as the kernel hears ICMP
  // errors for sockets only.
  const socket = createSocket('udp4');
  socket.bind(() => {
    socket.setTTL(ttl);
    // Too large for what is known of the way: not sent (EMSGSIZE), as any program would see it.
    socket.send(text, port, address, () => {});
  });
});
