/** Where the question is written: Enter sends, Shift and Enter make a line, and a running answer can be stopped. */

export class Composer {
  /** `asked(text)` and `stopped()` are what the person wants; `canAsk()` says whether a question may be sent now. */
  constructor(parts, { asked, stopped, canAsk }) {
    Object.assign(this, { parts, asked, stopped, canAsk });
    parts.form.addEventListener("submit", (event) => this.#submit(event));
    parts.stop.addEventListener("click", () => this.stopped());
    parts.question.addEventListener("keydown", (event) => this.#pressed(event));
    parts.question.addEventListener("input", () => this.refresh());
  }

  /** Show the right button for what can be done now. */
  refresh() {
    const { question, send, stop } = this.parts;
    const canAsk = this.canAsk();
    const hadFocus = document.activeElement === stop || document.activeElement === send;
    send.hidden = !canAsk;
    stop.hidden = canAsk;
    send.disabled = question.value.trim() === "";
    if (hadFocus) question.focus();
    fit(question);
  }

  take(text) {
    this.parts.question.value = text;
    this.parts.form.requestSubmit();
  }

  focus() {
    // On a phone the focus would open the keyboard over the page before anything was read.
    if (window.matchMedia("(hover: hover)").matches) this.parts.question.focus();
  }

  #submit(event) {
    event.preventDefault();
    const text = this.parts.question.value.trim();
    if (!text || !this.canAsk()) return;
    this.parts.question.value = "";
    this.asked(text);
    this.refresh();
  }

  #pressed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.parts.form.requestSubmit();
  }
}

/** Browsers without field-sizing get the height of the text by hand. */
function fit(question) {
  if (CSS.supports("field-sizing", "content")) return;
  question.style.height = "auto";
  question.style.height = `${question.scrollHeight}px`;
}
