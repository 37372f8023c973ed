/** A management guest reduced to the one request: asks the base to open an adapter and prints the answer. */
import { ethernet, ETHERTYPE, ipv4, parse, PROTOCOL, udp } from '../../test/support/packets.ts';
import { Vm } from '../../test/support/vm.ts';
import { argument, result } from './probe.ts';

const CONTROL_PORT = 7356;

const { socket, mac, address, baseMac, base, adapter } = argument<{
  socket: string;
  mac: string;
  address: string;
  baseMac: string;
  base: string;
  adapter: string;
}>();

const vm = await Vm.start(socket);
const request = Buffer.from(JSON.stringify({ id: 1, op: 'open', adapter }));
const datagram = udp(
  { source: address, destination: base, sourcePort: 40000, destinationPort: CONTROL_PORT },
  request,
);
const packet = ipv4({ source: address, destination: base, protocol: PROTOCOL.udp }, datagram);
await vm.send(ethernet({ source: mac, destination: baseMac, type: ETHERTYPE.ipv4 }, packet));
for (;;) {
  const { udp: answer } = parse((await vm.receive(10_000)).frame);
  if (answer?.sourcePort !== CONTROL_PORT) continue;
  result(JSON.parse(answer.payload.toString()));
  break;
}
// The connection stays until the benchmark ends us: a controller that went away is another story.
setInterval(() => vm.pollReceived(), 100);
