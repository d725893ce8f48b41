/** One turn on the page: the question, what the answer was written from, the answer, and what it took. */

import { el, fill, say } from "./dom.js";
import { figuresOf, tokensOf, wait } from "./figures.js";
import { JobView } from "./job-view.js";
import { Prose } from "./prose.js";
import { Change, TurnState, hasEnded } from "./transcript.js";

const CHECKS = { draft: "checked while it is written", buffer: "checked before it is shown" };

export class TurnView {
  /** `acts` are {again(turn), offer(turn, endpoint), stopJob(turn)}; `grew()` is called when the turn may have become longer. */
  constructor(turn, { acts, grew }) {
    this.turn = turn;
    this.acts = acts;
    this.grew = grew;
    this.job = new JobView({ stop: () => acts.stopJob(turn), grew });
    this.parts = partsOf(this.job);
    this.root = articleOf(turn, this.parts);
    this.prose = new Prose(this.parts.prose, grew);
    this.shownPlan = null;
    this.show(Change.REWRITTEN);
  }

  /** A piece of text arrived: all else of the turn is as it was, except once, when thinking ends. */
  append(text) {
    if (this.root.dataset.state !== this.turn.state) this.show(Change.FACTS);
    this.prose.append(text);
  }

  show(change) {
    if (change === Change.REWRITTEN) this.prose.rewrite(this.turn.text);
    if (hasEnded(this.turn)) this.prose.flush();
    this.#mark();
    this.#showPlan();
    this.#showThinking();
    this.#showWithdrawn();
    this.#showNotes();
    this.#showTrouble();
    this.#showOffer();
    this.#showFigures();
    this.grew();
  }

  #mark() {
    this.root.dataset.state = this.turn.state;
    this.root.toggleAttribute("data-mended", this.turn.isMended);
    this.parts.answer.setAttribute("aria-busy", String(!hasEnded(this.turn)));
  }

  #showPlan() {
    const { plan } = this.turn;
    if (plan === this.shownPlan) return;
    this.shownPlan = plan;
    fill(this.parts.plan, ...(plan ? planOf(plan) : []));
  }

  #showThinking() {
    const { turn, parts } = this;
    parts.thinking.hidden = hasEnded(turn) || turn.text !== "";
    say(parts.thinkingWords, thoughts(turn));
  }

  #showWithdrawn() {
    const { withdrawn } = this.turn;
    if (this.parts.withdrawn.childElementCount !== withdrawn.length) fill(this.parts.withdrawn, ...withdrawn.map(withdrawnOf));
  }

  #showNotes() {
    const { turn, parts } = this;
    say(parts.cut, turn.text ? endingOf(turn) : "");
    say(parts.mended, turn.isMended ? "Part of the stream was lost; this is the answer as it was stored." : "");
    say(parts.stopped, turn.state === TurnState.STOPPED && !turn.text ? "This answer was stopped." : "");
  }

  /** With an escape hatch its words come first, and what went wrong is a note; without one it is said aloud. */
  #showTrouble() {
    const { turn, parts } = this;
    const isShown = turn.trouble && turn.state !== TurnState.STOPPED;
    const escape = (isShown && turn.trouble.escape?.text) || "";
    fill(parts.trouble, ...(isShown && !escape ? this.#troubleOf(turn) : []));
    say(parts.escape, escape);
    say(parts.why, escape && turn.withdrawn.length === 0 ? turn.trouble.sentence : "");
  }

  #troubleOf(turn) {
    const { sentence, remedy } = turn.trouble;
    return [
      el("p", { class: "trouble-what" }, sentence),
      remedy && el("p", { class: "trouble-remedy" }, remedy),
      this.#againOf(turn),
    ];
  }

  #showOffer() {
    const { turn, parts } = this;
    const { escape } = turn.trouble ?? {};
    const isOpen = turn.state === TurnState.FAILED && escape && turn.withdrawn.length === 0 && !turn.job;
    fill(parts.offer, ...(isOpen ? [escape.offer && this.#offerOf(escape.offer), this.#againOf(turn)] : []));
    this.job.show(turn.job);
  }

  #offerOf(name) {
    return el("button", { type: "button", class: "solid", onclick: () => this.#accept(name) }, "Continue in the background", el("small", {}, name));
  }

  #accept(name) {
    this.acts.offer(this.turn, name);
    this.job.focus();
  }

  #againOf(turn) {
    return el("button", { type: "button", class: "quiet", onclick: () => this.acts.again(turn) }, "Ask again");
  }

  #showFigures() {
    const { result } = this.turn;
    fill(this.parts.figures, ...(result ? [paceOf(result), ...figuresOf(result).map((words) => el("li", {}, words))] : []));
    if (result) this.parts.figures.title = tokensOf(result);
  }
}

function partsOf(job) {
  const thinkingWords = el("span", { class: "thinking-words" });
  return {
    plan: el("div", { class: "plan", hidden: true }),
    withdrawn: el("div", { class: "withdrawn-list", hidden: true }),
    thinkingWords,
    thinking: el("div", { class: "thinking" }, dots(), thinkingWords),
    prose: el("div", { class: "prose" }),
    cut: el("p", { class: "cut", hidden: true }),
    mended: el("p", { class: "note mended", hidden: true }),
    stopped: el("p", { class: "note", hidden: true }),
    trouble: el("div", { class: "trouble", hidden: true }),
    escape: el("p", { class: "escape", hidden: true }),
    why: el("p", { class: "note why", hidden: true }),
    offer: el("div", { class: "offer", hidden: true }),
    job: job.root,
    figures: el("ul", { class: "figures", "aria-label": "What this turn took", hidden: true }),
    answer: null,
  };
}

function articleOf(turn, parts) {
  const { thinkingWords, answer, ...shown } = parts;
  parts.answer = el("div", { class: "answer" }, el("h3", { class: "unseen" }, "Answer"), ...Object.values(shown));
  const asked = el("div", { class: "asked", hidden: !turn.asked }, el("h3", { class: "unseen" }, "You asked"), el("p", {}, turn.asked));
  return el("article", { class: "turn" }, asked, parts.answer);
}

const dots = () => el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i"));

/** What is going on before there is text: the progress if one is told, else what the turn waits for. */
function thoughts({ state, plan, progress, waitedMs }) {
  const told = progress && [progress.note, progress.of > 1 && `${progress.done} of ${progress.of}`].filter(Boolean).join(", ");
  const planned = plan?.verification === "buffer" ? "Checking the answer before it is shown" : plan && "Writing";
  const waiting = { [TurnState.UNSENT]: "Waiting for the connection", [TurnState.ASKED]: "Sent" }[state];
  return [waiting || planned || told || "Thinking", wait(waitedMs)].filter(Boolean).join(" · ");
}

/** Why the text ends where it ends, when it is not at its end. */
function endingOf({ state, trouble }) {
  if (state === TurnState.STOPPED) return "The answer was stopped here";
  return trouble?.truncated ? "The answer was cut off here" : "";
}

function planOf({ summary, verification, sources }) {
  return [
    el("p", { class: "plan-line" }, el("span", {}, summary), el("span", { class: "check" }, CHECKS[verification] ?? "")),
    sources?.length > 0 && el("ul", { class: "sources", "aria-label": "Sources" }, ...sources.map(sourceOf)),
  ];
}

const sourceOf = ({ title, author, year }) =>
  el("li", {}, el("cite", {}, title), author && el("span", { class: "by" }, author), year && el("span", {}, String(year)));

const withdrawnOf = ({ reason }) =>
  el("p", { class: "withdrawn" }, el("b", {}, "Taken back"), el("span", {}, reason));

/** How much of a turn's time passed before its first words, as a picture of it. */
function paceOf({ first_delta_ms: first, duration_ms: whole }) {
  if (!first || !whole) return null;
  const made = el("li", { class: "pace", "aria-hidden": "true" }, el("i"));
  made.style.setProperty("--waited", `${Math.min(100, (100 * first) / whole)}%`);
  return made;
}
