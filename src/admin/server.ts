/**
 * The admin interface: HTTP on a Unix socket, mode 0600, read-only.
 *
 * Only root and the user we run as can connect, yet a stuck or broken client must cost nothing either: few connections, of which a
 * new one takes the place of the oldest idle one; short headers, deadlines for everything, no request body is ever read.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { BaseState } from '../base-state.ts';
import { native } from '../native.ts';
import {
  prepareSocketPath,
  rememberSocketFile,
  removeSocketFile,
  type SocketFile,
} from '../socket-file.ts';
import { Metrics } from './metrics.ts';
import type { Refresh } from './refresh.ts';
import { buildStatus } from './status.ts';
import { MAX_COUNT, MAX_SECONDS, type Traces } from './traces.ts';

const SOCKET_MODE = 0o600;
const MAX_CONNECTIONS = 32;
/** Requests that one connection may have under way: each answer is kept until it is read. */
const MAX_ANSWERS = 8;
const BACKLOG = 64;
const MAX_HEADER_BYTES = 8192;
const REQUEST_DEADLINE_MS = 5000;

interface Answer {
  status: number;
  type: string;
  body: string;
  headers?: Record<string, string>;
}

/** What a request is told that the parser gave up; anything else is a bad request. */
const REFUSALS: Record<string, string> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
};

export class AdminServer {
  readonly #server: Server;
  readonly #state: BaseState;
  readonly #metrics: Metrics;
  readonly #traces: Traces;
  readonly #refresh: Refresh;
  /** How many answers each is waiting for; the oldest comes first. */
  readonly #connections = new Map<Socket, number>();
  #file: SocketFile | null = null;

  constructor(state: BaseState, traces: Traces, refresh: Refresh, onError: (error: Error) => void) {
    this.#state = state;
    this.#traces = traces;
    this.#refresh = refresh;
    this.#metrics = new Metrics(state);
    this.#server = createServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: REQUEST_DEADLINE_MS,
        requestTimeout: REQUEST_DEADLINE_MS,
        keepAliveTimeout: REQUEST_DEADLINE_MS,
        connectionsCheckingInterval: 2000,
      },
      (request, response) => {
        if ((this.#connections.get(request.socket) ?? 0) >= MAX_ANSWERS) {
          request.socket.destroy();
          return;
        }
        this.#note(request.socket, response);
        this.#serve(request, response).catch((error: Error) => {
          onError(error);
          response.destroy();
        });
      },
    );
    // Also for answers that are not read.
    this.#server.setTimeout(2 * REQUEST_DEADLINE_MS, (socket) => socket.destroy());
    this.#server.on('connection', (socket) => this.#admit(socket));
    this.#server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      if (!socket.writable) return socket.destroy();
      const status = REFUSALS[error.code ?? ''] ?? '400 Bad Request';
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => {
        socket.destroy();
      });
    });
    this.#server.on('error', onError);
  }

  /** Listens on `path`; throws an Error that says what is in the way. */
  async listen(path: string): Promise<void> {
    prepareSocketPath(path);
    // By descriptor: given a path, Node's server removes at its end whatever stands there then.
    const fd = native.unixListen(path, SOCKET_MODE, BACKLOG);
    this.#file = rememberSocketFile(path);
    await new Promise<void>((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ fd }, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
  }

  /** Ends at once, connections too, and removes the socket file. */
  close(): void {
    if (this.#file) removeSocketFile(this.#file);
    this.#file = null;
    this.#server.close();
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  /** Whoever is idle or slow locks nobody out: it gives way. Only where all are being answered the new one has to. */
  #admit(socket: Socket): void {
    if (this.#connections.size >= MAX_CONNECTIONS) {
      const idle = [...this.#connections].find(([, answers]) => answers === 0)?.[0];
      (idle ?? socket).destroy();
      if (idle === undefined) return;
      this.#connections.delete(idle);
    }
    this.#connections.set(socket, 0);
    socket.once('close', () => this.#connections.delete(socket));
  }

  /** Its connection is being answered until the response is out, or can't be. */
  #note(socket: Socket, response: ServerResponse): void {
    const add = (answers: number) => {
      const before = this.#connections.get(socket);
      if (before !== undefined) this.#connections.set(socket, before + answers);
    };
    add(1);
    response.once('close', () => add(-1));
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#connections.size;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const answer = await this.#answer(request);
    const headers: Record<string, string> = {
      'content-type': answer.type,
      'content-length': String(Buffer.byteLength(answer.body)),
      'cache-control': 'no-store',
      ...answer.headers,
    };
    // What a body would hold is nobody's business: it ends the connection instead of being read.
    const hasBody =
      request.headers['transfer-encoding'] !== undefined ||
      Number(request.headers['content-length'] ?? 0) > 0;
    if (hasBody) headers.connection = 'close';
    response.writeHead(answer.status, headers);
    response.end(request.method === 'HEAD' ? undefined : answer.body);
    if (hasBody) response.once('finish', () => request.socket.destroySoon());
  }

  async #answer(request: IncomingMessage): Promise<Answer> {
    // Of a whole URL (RFC 9112 §3.2.2) the rest says who we are.
    const target = (request.url ?? '').replace(/^http:\/\/[^/?]*/i, '');
    const [path, query = ''] = target.split('?', 2);
    if (path !== '/v1/status' && path !== '/v1/trace' && path !== '/metrics') {
      return json(404, {
        error: 'notFound',
        message: 'there are /v1/status, /v1/trace?vm=NAME and /metrics',
      });
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      return json(
        405,
        { error: 'methodNotAllowed', message: 'this interface only answers GET and HEAD' },
        { allow: 'GET, HEAD' },
      );
    }
    if (path === '/v1/trace') return this.#trace(new URLSearchParams(query));
    // Who was just answered by the base finds it here.
    await this.#refresh.request();
    if (path === '/v1/status') return json(200, buildStatus(this.#state));
    return { status: 200, type: this.#metrics.contentType, body: await this.#metrics.text() };
  }

  async #trace(query: URLSearchParams): Promise<Answer> {
    const name = query.get('vm');
    const vm = this.#state.plan.vms.findIndex((candidate) => candidate.name === name);
    const count = Number(query.get('count') ?? 1);
    const seconds = Number(query.get('seconds') ?? 5);
    if (vm < 0) return json(400, { error: 'badRequest', message: 'vm= must name a VM' });
    if (
      !(
        Number.isInteger(count) &&
        count >= 1 &&
        count <= MAX_COUNT &&
        seconds > 0 &&
        seconds <= MAX_SECONDS
      )
    ) {
      const message = `count= is 1 to ${MAX_COUNT}, seconds= more than 0 and up to ${MAX_SECONDS}`;
      return json(400, { error: 'badRequest', message });
    }
    const datagrams = await this.#traces.request(vm, count, seconds);
    if (datagrams === null) {
      return json(503, {
        error: 'unavailable',
        message: 'too many traces at once, or no turn worker',
      });
    }
    return json(200, { vm: name, datagrams });
  }
}

function json(status: number, value: unknown, headers: Record<string, string> = {}): Answer {
  return {
    status,
    type: 'application/json; charset=utf-8',
    body: `${JSON.stringify(value)}\n`,
    headers,
  };
}
