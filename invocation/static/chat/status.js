/** What the connection is at, in a word beside the name and, while it needs saying, in a banner over the question. */

import { linesOf } from "./gate.js";
import { LinkState } from "./stream.js";
import { fill, say } from "./dom.js";

const WORDS = {
  [LinkState.CONNECTING]: "Connecting…",
  [LinkState.LIVE]: "Live",
  [LinkState.RECONNECTING]: "Reconnecting…",
  [LinkState.BACK]: "Back",
  [LinkState.BUSY]: "Busy",
  [LinkState.REFUSED]: "Not connected",
};

const BANNERS = {
  [LinkState.RECONNECTING]: () => "Reconnecting… what you miss meanwhile is kept.",
  [LinkState.BACK]: () => "Back. The conversation goes on.",
  [LinkState.BUSY]: (seconds) => `All seats are taken. Trying again in ${seconds} s.`,
};

export class Status {
  #counting = 0;
  #act = null;

  constructor(parts) {
    this.parts = parts;
    parts.act.addEventListener("click", () => this.#act?.());
  }

  /** Show the link's state; `again()` is what the button of a refusal does. */
  show(state, { problem, waitMs, again }) {
    clearInterval(this.#counting);
    document.body.dataset.link = state;
    say(this.parts.words, WORDS[state]);
    if (problem) this.#refused(problem, again);
    else if (state === LinkState.BUSY) this.#countDown(Date.now() + waitMs);
    else this.#banner(BANNERS[state]?.() ?? "");
  }

  #refused(problem, again) {
    fill(this.parts.bannerWords, ...linesOf(problem));
    this.parts.banner.hidden = false;
    this.#offer(problem.status === 401 ? "Enter a key" : "Try again", again);
  }

  #countDown(until) {
    const tick = () => this.#banner(BANNERS[LinkState.BUSY](Math.max(1, Math.ceil((until - Date.now()) / 1000))));
    tick();
    this.#counting = setInterval(tick, 1000);
  }

  #banner(words) {
    say(this.parts.bannerWords, words);
    this.parts.banner.hidden = !words;
    this.#offer("", null);
  }

  #offer(words, act) {
    this.#act = act;
    say(this.parts.act, words);
  }
}
