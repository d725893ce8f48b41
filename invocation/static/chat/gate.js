/** The dialog that asks for the API key, and says what was wrong with the last one. */

import { el, fill } from "./dom.js";

export class Gate {
  /** `opened(key)` is called with each key that a person gives. */
  constructor({ dialog, form, key, problem }, opened) {
    Object.assign(this, { dialog, key, problem });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.close();
      opened(key.value.trim());
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }

  /** Ask for a key; with a Problem, say why the last one did not do. */
  ask(problem = null) {
    fill(this.problem, ...(problem ? linesOf(problem) : []));
    this.key.value = "";
    if (!this.dialog.open) this.dialog.showModal();
    this.key.focus();
  }
}

export const linesOf = ({ title, detail, remedy }) => [
  el("b", {}, title),
  detail && el("span", {}, detail),
  remedy && el("span", {}, remedy),
];
