/** What a screen reader is told: whole answers and turning points, never single words as they stream. */

const MENDING_MS = 60;

export class Announcer {
  #fresh = new Set();
  #waiting = 0;

  constructor(root) {
    this.root = root;
  }

  /** Only turns that were asked here are told: what is replayed was told before. */
  expect(turn) {
    this.#fresh.add(turn.local);
  }

  /** Tell what an event did to a turn, if it is worth an interruption. */
  tell(turn, type) {
    const words = this.#fresh.has(turn.local) && (WORDS[type]?.(turn) ?? "");
    if (words) this.say(words);
  }

  /** A reader hears a change; the same words twice are only heard when something stood between. */
  say(words) {
    this.root.textContent = "";
    clearTimeout(this.#waiting);
    this.#waiting = setTimeout(() => {
      this.root.textContent = words;
    }, MENDING_MS);
  }
}

const WORDS = {
  "plan.ready": ({ plan }) => (plan?.verification === "buffer" ? "The answer is checked before it is shown." : ""),
  "turn.completed": ({ text }) => text,
  "turn.failed": ({ state, text, trouble }) =>
    state === "stopped"
      ? "The answer was stopped."
      : [trouble.truncated && text, trouble.sentence, trouble.escape?.text, trouble.escape?.offer && "You can continue in the background."].filter(Boolean).join(" "),
  retracted: ({ withdrawn }) => `The answer was taken back. ${withdrawn.at(-1)?.reason ?? ""}`,
};
