// Shows a transcript as it grows: once for each frame, and never more at once than a frame can take.

import { element } from "./elements.js";
import { viewOf } from "./parts.js";
import { say } from "./texts.js";
import { MAX_CHARACTERS } from "./transcript.js";

const PARTS_PER_FRAME = 40;

export class TranscriptView {
  #views = [];
  #scheduled = false;
  #left = false;
  #ended = false;
  #more = element("p", { class: "notice", hidden: true });

  constructor(container, transcript) {
    this.container = container;
    this.transcript = transcript;
    container.replaceChildren(this.#more);
  }

  changed() {
    if (this.#scheduled || this.#left) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      if (!this.#left) this.#draw();
    });
  }

  end() {
    this.#ended = true;
    this.changed();
  }

  leave() {
    this.#left = true;
    for (const { leave } of this.#views) leave?.();
  }

  #draw() {
    const { parts, dropped } = this.transcript;
    // Only the last one grows; a tool call may get its result later.
    const first = Math.max(0, this.#views.length - 1);
    const until = Math.min(parts.length, this.#views.length + PARTS_PER_FRAME);
    for (let index = first; index < until; index += 1) {
      if (index === this.#views.length) {
        this.#views.at(-1)?.settle?.();
        const view = viewOf(parts[index]);
        this.#views.push(view);
        this.#more.before(view.node);
      }
      this.#views[index].update();
    }
    for (const [index, part] of parts.slice(0, first).entries()) {
      if (part.hasResult) this.#views[index].update();
    }
    if (this.#ended && until === parts.length) this.#views.at(-1)?.settle?.();
    if (dropped) {
      this.#more.hidden = false;
      const numbers = { shown: MAX_CHARACTERS.toLocaleString(), more: dropped.toLocaleString() };
      say(this.#more, "too_much", numbers);
    }
    if (until < parts.length) this.changed();
  }
}
