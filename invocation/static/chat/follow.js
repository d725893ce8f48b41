/** Keeps the newest text in sight while the reader is at the end, and stays out of the way when they scrolled up. */

const NEAR_PX = 32;

export class Follow {
  #button;
  #top = 0;
  #isPinned = true;

  constructor(button) {
    this.#button = button;
    button.addEventListener("click", () => this.pin());
    window.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    window.addEventListener("resize", () => this.grew());
  }

  /** Go to the end and stay there. */
  pin() {
    this.#isPinned = true;
    this.grew();
  }

  /** What is shown became longer. */
  grew() {
    if (this.#isPinned) window.scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
    this.#show();
  }

  #scrolled() {
    const top = window.scrollY;
    if (top < this.#top || this.#isAtEnd) this.#isPinned = this.#isAtEnd;
    this.#top = top;
    this.#show();
  }

  get #isAtEnd() {
    const { scrollHeight } = document.documentElement;
    return scrollHeight - window.scrollY - window.innerHeight < NEAR_PX;
  }

  #show() {
    this.#button.hidden = this.#isPinned || this.#isAtEnd;
  }
}
