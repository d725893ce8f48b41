/** The WebSocket that follows a session: it comes back by itself and names the last seq it saw. */

import { Problem } from "./wire.js";

const FIRST_WAIT_MS = 300;
const LONGEST_WAIT_MS = 5000;
const BACK_SHOWN_MS = 2200;
const WATCH_MS = 2000;
/** A turn sends a heartbeat every 2 s: after five missing ones the socket is dead, whatever the browser believes. */
const SILENCE_MS = 10_000;
const UNKNOWN = 4404;
const IDLE = 4408;
const NO_ROOM = new Set([4429, 4503]);

/** What the link is at: the page shows one of these. */
export const LinkState = Object.freeze({
  CONNECTING: "connecting",
  LIVE: "live",
  RECONNECTING: "reconnecting",
  BACK: "back",
  BUSY: "busy",
  REFUSED: "refused",
});

export class Link {
  #socket = null;
  #round = 0;
  #losses = 0;
  #timer = 0;
  #heardAt = 0;
  #lastError = null;
  #wasLive = false;
  #isReady = false;
  #settling = 0;

  /**
   * `address(ticket)` is where to connect, `ticket()` buys one, `onEvent(event)` gets every frame,
   * `onState(state, {problem, waitMs})` every change, `isExpecting()` says whether frames are due.
   */
  constructor(ways) {
    this.ways = ways;
    setInterval(() => this.#watch(), WATCH_MS);
    window.addEventListener("online", () => this.#timer && this.open());
  }

  /** Connect now, giving up whatever attempt was under way. */
  async open() {
    const round = this.#drop();
    if (!this.#wasLive) this.#tell(LinkState.CONNECTING);
    try {
      const ticket = await this.ways.ticket();
      if (round === this.#round) this.#follow(ticket, round);
    } catch (error) {
      if (round === this.#round) this.#missed(error);
    }
  }

  /** Forget that there was a connection: what comes next is a first one. */
  reset() {
    this.#wasLive = false;
    this.#losses = 0;
    this.#drop();
  }

  /** Put a frame on the socket; false when there is none to put it on. */
  send(frame) {
    if (!this.isOpen) return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  get isOpen() {
    return this.#isReady && this.#socket?.readyState === WebSocket.OPEN;
  }

  #drop() {
    clearTimeout(this.#settling);
    clearTimeout(this.#timer);
    this.#isReady = false;
    this.#timer = 0;
    this.#socket?.close();
    this.#socket = null;
    this.#round += 1;
    return this.#round;
  }

  #follow(ticket, round) {
    const socket = new WebSocket(this.ways.address(ticket));
    this.#socket = socket;
    this.#lastError = null;
    this.#heardAt = Date.now();
    socket.onmessage = ({ data }) => round === this.#round && this.#heard(JSON.parse(data));
    socket.onclose = ({ code }) => round === this.#round && this.#closed(code);
  }

  #heard(event) {
    this.#heardAt = Date.now();
    if (event.type === "error") this.#lastError = event.data;
    if (event.type === "session.ready") this.#ready();
    this.ways.onEvent(event);
  }

  #ready() {
    const returned = this.#losses > 0 && this.#wasLive;
    this.#losses = 0;
    this.#wasLive = true;
    this.#isReady = true;
    this.#tell(returned ? LinkState.BACK : LinkState.LIVE);
    if (returned) this.#settling = setTimeout(() => this.#tell(LinkState.LIVE), BACK_SHOWN_MS);
  }

  #closed(code) {
    this.#drop();
    const told = this.#lastError;
    if (code === UNKNOWN) this.#refuse(new Problem({ status: 404, title: "No such endpoint or conversation", ...told }));
    else if (code === IDLE && document.hidden) this.#rest();
    else if (NO_ROOM.has(code)) this.#wait(told?.retry_after_s ?? 2);
    else this.#lost();
  }

  /** Nobody looks: the server need not hold a connection until somebody does. */
  #rest() {
    const round = this.#round;
    const again = () => round === this.#round && this.open();
    document.addEventListener("visibilitychange", again, { once: true });
  }

  #missed(error) {
    if (error instanceof Problem && !error.passes) this.#refuse(error);
    else if (error.retryAfterS) this.#wait(error.retryAfterS);
    else this.#lost();
  }

  #refuse(problem) {
    this.#tell(LinkState.REFUSED, { problem });
  }

  #wait(seconds) {
    const waitMs = spread(seconds * 1000, { from: 1, to: 1.25 });
    this.#losses += 1;
    this.#tell(LinkState.BUSY, { waitMs });
    this.#later(waitMs);
  }

  #lost() {
    const waitMs = spread(Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** this.#losses), { from: 0.75, to: 1.25 });
    this.#losses += 1;
    this.#tell(LinkState.RECONNECTING, { waitMs });
    this.#later(waitMs);
  }

  #later(waitMs) {
    this.#timer = setTimeout(() => this.open(), waitMs);
  }

  #watch() {
    const isDead = this.#socket && this.ways.isExpecting() && Date.now() - this.#heardAt > SILENCE_MS;
    if (!isDead) return;
    this.#drop();
    this.#lost();
  }

  #tell(state, { problem = null, waitMs = 0 } = {}) {
    this.ways.onState(state, { problem, waitMs });
  }
}

/** Jitter: many pages that lost one server must not come back in one moment. */
const spread = (ms, { from, to }) => ms * (from + Math.random() * (to - from));
