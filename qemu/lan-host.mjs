// The LAN's host: runs in the far network namespace, on the kernel's own IP stack.
//
//     lan-host.mjs serve                     a web page on port 80; on 7001 the sha256 of what it
//                                            is sent; on 7002 as many random bytes as asked for
//     lan-host.mjs send HOST PORT BYTES      sends random bytes, then reads the answer
//     lan-host.mjs page HOST                 reads the web page of a guest
//
// The services are those of the guests (guest/files). One JSON line per result.

import { createHash, randomBytes } from 'node:crypto';
import { get, createServer as httpServer } from 'node:http';
import { connect, createServer } from 'node:net';

const SECONDS = 100;
const PAGE =
  'Hello from the LAN. You reached an ordinary web server outside of every virtual machine.\n';

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const sum = (bytes) => createHash('sha256').update(bytes).digest('hex');

const modes = {
  serve() {
    const digest = createServer({ allowHalfOpen: true }, (socket) => {
      const hash = createHash('sha256');
      let bytes = 0;
      socket.on('data', (data) => {
        hash.update(data);
        bytes += data.length;
      });
      socket.on('error', () => {});
      socket.on('end', () => {
        const sha256 = hash.digest('hex');
        say({ received: bytes, sha256, from: socket.remoteAddress });
        socket.end(`${sha256}  -\n`);
      });
    });
    const source = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (line) => {
        const data = randomBytes(Math.min(Number(line) || 0, 1 << 28));
        say({ sent: data.length, sha256: sum(data), to: socket.remoteAddress });
        socket.end(data);
      });
    });
    const web = httpServer((_request, response) => {
      response.setHeader('Content-Type', 'text/plain');
      response.end(PAGE);
    });
    let waiting = 3;
    const ready = () => {
      if (--waiting === 0) say({ ready: true });
    };
    digest.listen(7001, ready);
    source.listen(7002, ready);
    web.listen(80, ready);
  },

  send(host, port, bytes) {
    const data = randomBytes(Number(bytes));
    const start = Date.now();
    const socket = connect({ host, port: Number(port) }, () => socket.end(data));
    let answer = '';
    socket.setTimeout(SECONDS * 1000, () => socket.destroy(new Error('no answer')));
    socket.on('data', (text) => {
      answer += text;
    });
    socket.on('error', (error) => fail(error.message));
    socket.on('end', () => {
      const seconds = (Date.now() - start) / 1000;
      say({ sent: data.length, sha256: sum(data), answer: answer.trim(), seconds });
    });
  },

  page(host) {
    const call = get({ host, timeout: SECONDS * 1000 }, (response) => {
      let body = '';
      response.on('data', (text) => {
        body += text;
      });
      response.on('end', () => say({ status: response.statusCode, body }));
    });
    call.on('timeout', () => call.destroy(new Error('no answer')));
    call.on('error', (error) => fail(error.message));
  },
};

function fail(message) {
  say({ error: message });
  process.exitCode = 1;
}

const [mode = 'serve', ...rest] = process.argv.slice(2);
modes[mode](...rest);
