// Speaks with the admin API. Owns the token, which is in this variable and nowhere else: not in storage, not in a URL,
// not in a message. Every refusal becomes a Trouble in plain words.

const BASE = "/v1/codeq/admin/";
const SECONDS_MAX = 20;

let token = "";
let tokenGone = () => {};

// Keeps a token, as pasted: with or without "Bearer", with or without spaces around. False where it can't be one.
export function keepToken(pasted) {
  const text = pasted.trim().replace(/^bearer\s+/i, "");
  if (!/^[\w.~+/=-]+$/.test(text)) return false;
  token = text;
  return true;
}

export function forgetToken() {
  token = "";
}

// What to do when the node does not take the token any more.
export function whenTokenGone(action) {
  tokenGone = action;
}

// Something that went wrong, in words for a person. `status` is 0 where no answer came; `waitSeconds` is what the node
// asks to wait for; `passing` says that trying again may help.
export class Trouble extends Error {
  constructor(words, status = 0, waitSeconds = 0) {
    super(words);
    this.status = status;
    this.waitSeconds = waitSeconds;
    this.passing = status === 0 || status === 429 || status === 503;
  }
}

// One request. `query` and `body` are objects; `signal` breaks it off. Gives {data, text, date}: the answer as a value,
// as the text that came, and the node's time in milliseconds.
export async function call(method, path, { query = {}, body, signal, seconds = SECONDS_MAX } = {}) {
  const used = token;
  const given = Object.entries(query).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const search = new URLSearchParams(given).toString();
  const limit = AbortSignal.timeout(seconds * 1000);
  let answer, text;
  try {
    answer = await fetch(BASE + path + (search && `?${search}`), {
      method,
      headers: { Authorization: `Bearer ${used}`, ...(body && { "Content-Type": "application/json" }) },
      body: body && JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      referrerPolicy: "no-referrer",
    });
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Trouble(limit.aborted
      ? `The node did not answer within ${seconds} seconds.`
      : "The connection to the node is lost: it is down or restarting, or the network is.");
  }
  if (!answer.ok) {
    if (answer.status === 401 && used === token) tokenGone();
    throw refusal(answer, text);
  }
  return { data: JSON.parse(text), text, date: Date.parse(answer.headers.get("Date")) };
}

function refusal(answer, text) {
  let said = "";
  try {
    said = String(JSON.parse(text).message ?? "");
  } catch {
    said = text.slice(0, 200);
  }
  const wait = Number(answer.headers.get("Retry-After")) || 0;
  const id = answer.headers.get("X-Request-Id");
  return new Trouble(words(answer.status, said, wait) + (answer.status >= 500 && id ? ` (Request ${id}.)` : ""),
    answer.status, wait);
}

function words(status, said, wait) {
  if (status === 400) return `The node does not accept this: ${said}.`;
  if (status === 401) return "The node does not accept this token, or its time is over. Paste another one. " +
    "It must be a producer’s, not a worker’s.";
  if (status === 403) return `This token may not do that: ${said}.`;
  if (status === 404) return `It is not there: ${said}.`;
  if (status === 409) return `This can’t be done now: ${said}.`;
  if (status === 429) return `Too many requests: ${said}. The node asks to wait ${wait || 1} s.`;
  if (status === 503) return `The node can’t do this at the moment: ${said}.`;
  if (status >= 500) return `The node made a mistake: ${said}.`;
  return `The node answered ${status}: ${said}.`;
}
