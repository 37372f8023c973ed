/**
 * Control requests: one UDP payload from a guest into a checked request, or the reason why it is none. The bytes are
 * hostile: bounded in size, decoded strictly, every key known and no value nested.
 *
 *     {"id": 1, "op": "open" | "close" | "renew", "adapter": "uplink"}        {"id": 2, "op": "status"}
 */
const MAX_REQUEST_BYTES = 4096;
const MAX_ID_LENGTH = 64;

export type RequestId = number | string | null;

export type Request =
  | { id: RequestId; op: 'open' | 'close' | 'renew'; adapter: string }
  | { id: RequestId; op: 'status' };

/** What is wrong with a payload; `id` is its id where that much could be read. */
export interface Malformed {
  id: RequestId;
  malformed: string;
}

const decoder = new TextDecoder('utf-8', { fatal: true });

/** Never throws. */
export function parseRequest(payload: Uint8Array): Request | Malformed {
  if (payload.length > MAX_REQUEST_BYTES) {
    return bad(null, `a request has at most ${MAX_REQUEST_BYTES} bytes`);
  }
  let text: string;
  try {
    text = decoder.decode(payload);
  } catch {
    return bad(null, 'not UTF-8');
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Or nested so deeply that the stack ended.
    return bad(null, 'not JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return bad(null, 'not a JSON object');
  }
  const keys = Object.keys(value);
  const field = (name: string): unknown =>
    Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined;

  const id = field('id');
  if (!isId(id)) {
    return bad(
      null,
      `"id" is a number below 2^53 or a string of at most ${MAX_ID_LENGTH} characters`,
    );
  }
  const members = countMembers(text);
  if (members < 0) return bad(id, 'a value is nested');
  // JSON.parse keeps the last of several equal keys; another reader may keep the first.
  if (keys.length !== members) return bad(id, 'a key is there twice');
  const op = field('op');
  if (op === 'status') {
    return keys.length === 2 ? { id, op } : bad(id, '"status" takes "id" and "op" only');
  }
  if (op !== 'open' && op !== 'close' && op !== 'renew') {
    return bad(id, '"op" is one of open, close, renew, status');
  }
  const adapter = field('adapter');
  if (typeof adapter !== 'string') return bad(id, `"${op}" needs "adapter", a name`);
  if (keys.length !== 3) return bad(id, `"${op}" takes "id", "op" and "adapter" only`);
  return { id, op, adapter };
}

function bad(id: RequestId, malformed: string): Malformed {
  return { id, malformed };
}

function isId(id: unknown): id is RequestId {
  if (typeof id === 'string') return id.length <= MAX_ID_LENGTH;
  // Beyond 2^53 the number sent back would be another one.
  return typeof id === 'number' && Math.abs(id) <= Number.MAX_SAFE_INTEGER;
}

/**
 * How many members the one object in `text` has, which JSON.parse took for one, or -1 when a value of it is nested. Looks at
 * braces, commas and strings only.
 */
function countMembers(text: string): number {
  let open = 0;
  let commas = 0;
  let tokens = 0;
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === '"') {
      tokens++;
      for (i++; i < text.length && text[i] !== '"'; i++) if (text[i] === '\\') i++;
    } else if (character === '{') {
      if (++open > 1) return -1;
    } else if (character === '[') {
      return -1;
    } else if (character === ',') {
      commas++;
    }
  }
  return tokens === 0 ? 0 : commas + 1;
}
