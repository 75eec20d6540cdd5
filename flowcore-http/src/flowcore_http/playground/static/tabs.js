// A few choices of which one holds, as a row of buttons that arrow keys move through.

import { element } from "./elements.js";
import { label, say } from "./texts.js";

const STEPS = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

export class Tabs {
  #buttons;
  #names;
  #chosen;

  // `words` are shown instead of the translated names, where a name is the same in all languages.
  constructor(node, title, names, chosen, words = {}) {
    this.node = node;
    this.#names = names;
    this.#chosen = chosen;
    node.setAttribute("role", "radiogroup");
    label(node, title);
    this.#buttons = names.map((name) => {
      const button = element("button", { type: "button", role: "radio" });
      if (words[name]) button.append(words[name]);
      else say(button, name);
      button.addEventListener("click", () => this.#choose(name));
      return button;
    });
    node.append(...this.#buttons);
    node.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      const now = this.#buttons.indexOf(document.activeElement);
      const next = (now + step + names.length) % names.length;
      this.#choose(names[next]);
      this.#buttons[next].focus();
    });
  }

  select(name) {
    this.#buttons.forEach((button, index) => {
      const isChosen = this.#names[index] === name;
      button.setAttribute("aria-checked", String(isChosen));
      button.tabIndex = isChosen ? 0 : -1;
    });
  }

  #choose(name) {
    this.select(name);
    this.#chosen(name);
  }
}
