/** A turn's job on the page: how far it is, and at last what it wrote. */

import { el, fill, say } from "./dom.js";
import { seconds } from "./figures.js";
import { isOver } from "./job.js";
import { Prose } from "./prose.js";

const STATES = {
  accepting: "Handing over",
  queued: "Waiting for its turn",
  dispatched: "Starting",
  working: "Working",
  waiting: "Waiting",
  input_required: "Waiting for a person",
  cancelling: "Stopping",
  completed: "Done",
  failed: "Not finished",
  cancelled: "Stopped",
};

export class JobView {
  #shown = "";

  /** `stop()` is what the button does while the job runs; `grew()` follows each change of height. */
  constructor({ stop, grew }) {
    this.state = el("span", { class: "job-state" });
    this.note = el("span", { class: "faint" });
    this.stop = el("button", { type: "button", class: "quiet", onclick: stop }, "Stop");
    this.name = el("b");
    this.bar = el("progress", { "aria-label": "Progress of the job" });
    this.remedy = el("p", { class: "trouble-remedy", hidden: true });
    this.card = el("div", { class: "job", tabindex: "-1" }, el("p", {}, this.name, this.state, this.note, this.stop), this.bar, this.remedy);
    this.text = el("div", { class: "prose job-text", hidden: true });
    this.prose = new Prose(this.text, grew);
    this.root = el("section", { class: "continued", "aria-label": "In the background", hidden: true }, this.card, this.text);
  }

  /** Show the job as it is now; without one nothing is shown. */
  show(job) {
    this.root.hidden = !job;
    if (!job) return;
    const { done, of, note } = job.progress ?? {};
    this.card.dataset.state = job.trouble && job.state !== "cancelled" ? "failed" : job.state;
    say(this.name, job.endpoint);
    say(this.state, STATES[job.state] ?? job.state);
    say(this.note, noteOf(job, note));
    this.stop.hidden = isOver(job) || !job.id || job.state === "cancelling";
    this.#showBar({ done, of, isRunning: !isOver(job) });
    say(this.remedy, job.state === "cancelled" ? "" : [job.trouble?.sentence, job.trouble?.remedy].filter(Boolean).join(" "));
    if (job.text !== this.#shown) this.prose.rewrite(job.text);
    this.#shown = job.text;
    this.text.hidden = !job.text;
  }

  /** Put the keyboard here: the button that was pressed is gone. */
  focus() {
    this.card.focus({ preventScroll: true });
  }

  /** Without a measure the bar moves, so that it is seen that something does. */
  #showBar({ done, of, isRunning }) {
    this.bar.hidden = !isRunning;
    if (of > 0 && done > 0) Object.assign(this.bar, { max: of, value: done });
    else this.bar.removeAttribute("value");
  }
}

function noteOf({ state, tookS, etaS }, note) {
  if (note && state === "working") return note;
  if (state === "queued" && etaS) return `about ${Math.max(1, Math.round(etaS))} s`;
  return tookS === null ? "" : seconds(tookS * 1000, 1);
}
