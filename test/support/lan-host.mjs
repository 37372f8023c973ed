// A host on the test LAN, run inside its network namespace: echoes what comes to the echo port, and prints a line of JSON for each
// datagram that comes to the sink port. Plain JavaScript: Node 20 runs no TypeScript by itself.
import { createSocket } from 'node:dgram';

const [echoPort, sinkPort] = process.argv.slice(2).map(Number);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

const echo = createSocket({ type: 'udp4', recvBufferSize: 1 << 22 });
echo.on('message', (message, from) => echo.send(message, from.port, from.address));
const sink = createSocket('udp4');
sink.on('message', (message, from) =>
  say({ from: from.address, text: message.toString('latin1').slice(0, 100) }),
);
echo.bind(echoPort, () => sink.bind(sinkPort, () => say({ ready: true })));
