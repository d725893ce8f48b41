/** Streamed text on the page: pieces are gathered and written once a frame, in paragraphs, so that length costs nothing. */

export class Prose {
  #root;
  #last = null;
  #waiting = "";
  #held = "";
  #frame = 0;
  #written;

  /** `written()` is called after each change of what is shown. */
  constructor(root, written) {
    this.#root = root;
    this.#written = written;
  }

  append(text) {
    this.#waiting += text;
    this.#frame ||= requestAnimationFrame(() => this.flush());
  }

  /** Show this text and nothing of what stood there or waited. */
  rewrite(text) {
    this.#root.replaceChildren();
    this.#last = null;
    this.#held = "";
    this.#waiting = text;
    this.flush();
  }

  /** Write at once what waits for a frame; a hidden tab has no frames. */
  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (this.#waiting) this.#write(this.#waiting);
    this.#waiting = "";
    this.#written();
  }

  #write(text) {
    const whole = this.#last ? this.#held + text : (this.#held + text).replace(/^\s+/, "");
    const ready = whole.replace(/\n+$/, "");
    // A line's end may become a paragraph's end with the next piece.
    this.#held = whole.slice(ready.length);
    if (ready) ready.split(/\n{2,}/).forEach((part, place) => this.#place(part, place));
  }

  #place(part, place) {
    if (place > 0 || !this.#last) {
      this.#last = document.createElement("p");
      this.#root.append(this.#last);
    }
    this.#last.append(part);
  }
}
