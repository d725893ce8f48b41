/** Earlier conversations of this endpoint, in a sheet: newest first, each by its first question. */

import { el, fill, say } from "./dom.js";
import { ago } from "./figures.js";

export class History {
  #cursor = null;
  #round = 0;

  /** `load(cursor)` returns a page of sessions, `chosen(id)` opens one, `current()` names the one on the page. */
  constructor({ dialog, list, more, note, close }, { load, chosen, current }) {
    Object.assign(this, { dialog, list, more, note, load, chosen, current });
    close.addEventListener("click", () => dialog.close());
    more.addEventListener("click", () => this.#page(this.#round));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }

  open() {
    this.#cursor = null;
    this.#round += 1;
    this.list.replaceChildren();
    this.more.hidden = true;
    if (!this.dialog.open) this.dialog.showModal();
    this.#page(this.#round);
  }

  async #page(round) {
    say(this.note, this.list.childElementCount ? "" : "Looking…");
    try {
      const { items, next } = await this.load(this.#cursor);
      if (round !== this.#round) return;
      this.#cursor = next;
      this.list.append(...items.filter((each) => each.turns > 0).map((each) => this.#lineOf(each)));
      this.more.hidden = next === null;
      say(this.note, this.list.childElementCount ? "" : "Nothing was asked yet.");
    } catch (problem) {
      if (round === this.#round) say(this.note, problem.detail || problem.title || "The server cannot be reached.");
    }
  }

  #lineOf({ id, asked, turns, asked_at: at }) {
    const facts = [at && ago(at), `${turns} ${turns === 1 ? "question" : "questions"}`].filter(Boolean).join(" · ");
    const isCurrent = id === this.current();
    const button = el("button", { type: "button", onclick: () => this.#choose(id) }, el("b", {}, asked || "Without words"), el("span", {}, facts));
    if (isCurrent) button.setAttribute("aria-current", "true");
    return el("li", {}, button);
  }

  #choose(id) {
    this.dialog.close();
    if (id !== this.current()) this.chosen(id);
  }
}
