/** All turns on the page, in order, each under its own name. */

import { Change } from "./transcript.js";
import { TurnView } from "./turn.js";

export class LogView {
  #views = new Map();

  constructor(root, ways) {
    this.root = root;
    this.ways = ways;
  }

  /** Show the turn as it is now; a new one goes to the end. */
  show(turn, change = Change.FACTS) {
    const view = this.#views.get(turn.local);
    if (view) view.show(change);
    else this.#add(turn);
  }

  append(turn, text) {
    const view = this.#views.get(turn.local);
    if (view) view.append(text);
    else this.#add(turn);
  }

  clear() {
    this.#views.clear();
    this.root.replaceChildren();
  }

  #add(turn) {
    const view = new TurnView(turn, this.ways);
    this.#views.set(turn.local, view);
    this.root.append(view.root);
  }
}
