/** Calls of the HTTP API, each of which returns the body or throws a Problem. */

/** A refusal as RFC 9457 tells it. `remedy` may be empty, `retryAfterS` null. */
export class Problem extends Error {
  constructor({ status = 0, code = "", title = "", detail = "", remedy = "", retryAfterS = null }) {
    super(title || detail || `The server answered ${status}.`);
    Object.assign(this, { status, code, title: this.message, detail, remedy, retryAfterS });
  }

  /** Whether the same call may succeed a moment later. */
  get passes() {
    return this.status === 429 || this.status >= 500;
  }
}

export const ticket = async (key) => (await call("POST", "/v1/tickets", { key })).ticket;

/** Accept what a turn offered. Called again it answers with the same job. */
export const acceptOffer = (key, turn) => call("POST", `/v1/turns/${encodeURIComponent(turn)}/accept`, { key });

export const cancelJob = (key, id) =>
  call("POST", `/v1/jobs/${encodeURIComponent(id)}/cancel`, { key, body: { reason: "stopped by its reader" } });

export const listSessions = (key, { endpoint, cursor }) =>
  call("GET", `/v1/sessions?${new URLSearchParams({ endpoint, limit: 20, ...(cursor && { cursor }) })}`, { key });

export const readSession = (key, id) => call("GET", `/v1/sessions/${encodeURIComponent(id)}`, { key });

export const readJob = (key, id) => call("GET", `/v1/jobs/${encodeURIComponent(id)}`, { key });

export const readResult = (key, id) => call("GET", `/v1/jobs/${encodeURIComponent(id)}/result`, { key });

/** Throws Problem, or TypeError when the server cannot be reached. */
async function call(method, path, { key, body }) {
  const response = await fetch(path, { method, headers: headers(key, body), body: body && JSON.stringify(body) });
  if (!response.ok) throw await problemOf(response);
  return response.json();
}

function headers(key, body) {
  return {
    Accept: "application/json, application/problem+json",
    ...(key && { Authorization: `Bearer ${printable(key)}` }),
    ...(body && { "Content-Type": "application/json" }),
  };
}

/** A pasted key may hold anything; what no header can carry is sent as a question mark and refused as a bad key. */
const printable = (key) => key.replace(/[^\x21-\x7e]/g, "?");

async function problemOf(response) {
  const told = await response.json().catch(() => ({}));
  return new Problem({
    status: response.status,
    code: told.code,
    title: told.title,
    detail: told.detail,
    remedy: told.remedy,
    retryAfterS: told.retry_after_s ?? secondsIn(response.headers.get("Retry-After")),
  });
}

function secondsIn(header) {
  const seconds = Number.parseFloat(header ?? "");
  return Number.isFinite(seconds) ? seconds : null;
}
