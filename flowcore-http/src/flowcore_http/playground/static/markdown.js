// Markdown that grows. The service parses it: blocks that are complete once, the last one again and
// again. What is not parsed yet stands behind it as plain text, so nothing waits.

import { label } from "./texts.js";
import { copyOnClick } from "./clipboard.js";
import { element, icon } from "./elements.js";
import { fetchMarkdown } from "./service.js";
import { build, patch } from "./tree.js";

const EVERY_MILLISECONDS = 100;
const MAX_PIECE = 12_000;
const MAX_TAIL = 4000;
const MAX_FAILURES = 5;
const HOLDS_TEXT = new Set(["blockquote", "code", "h3", "h4", "h5", "h6", "li", "ol", "p", "pre"]);

const sleep = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

export class GrowingMarkdown {
  #source = "";
  #parsed = 0;
  #openTrees = [];
  #busy = false;
  #failures = 0;
  #left = false;
  #ended = false;
  #closed = element("div", { class: "blocks" });
  #open = element("div", { class: "open" });
  #tail = element("span", { class: "tail" });

  constructor(container) {
    container.append(this.#closed, this.#open);
  }

  append(text) {
    if (this.#ended) {
      // A run that was cut goes on, and with it perhaps the last block.
      this.#ended = false;
      this.#open.replaceChildren(...this.#openTrees.map(build));
    }
    this.#source += text;
    this.#showTail();
    this.#work();
  }

  // No more text comes.
  end() {
    this.#ended = true;
    this.#finish();
  }

  // Nobody looks any more.
  leave() {
    this.#left = true;
  }

  async #work() {
    // One request at a time, so that no older answer can come after a newer one.
    if (this.#busy) return;
    this.#busy = true;
    while (this.#parsed < this.#source.length && this.#failures < MAX_FAILURES) {
      if (this.#left) break;
      const [piece, isWhole] = this.#piece();
      const began = performance.now();
      try {
        this.#show(piece, isWhole, await fetchMarkdown(piece));
        this.#failures = 0;
      } catch {
        // It stays plain text; a service that stops no longer parses.
        this.#failures += 1;
        this.#showTail();
        await sleep(EVERY_MILLISECONDS * this.#failures);
      }
      if (isWhole) await sleep(Math.max(0, EVERY_MILLISECONDS - (performance.now() - began)));
    }
    this.#busy = false;
    this.#finish();
  }

  #finish() {
    if (!this.#ended || this.#busy || this.#parsed < this.#source.length) return;
    const last = this.#open.lastElementChild;
    if (last?.localName === "pre") last.replaceWith(withCopyButton(last.cloneNode(true)));
  }

  // Returns the text to be parsed next, and whether it reaches to the end of what has come.
  #piece() {
    if (this.#source.length <= MAX_PIECE) return [this.#source, true];
    const head = this.#source.slice(0, MAX_PIECE);
    const line = head.lastIndexOf("\n") + 1;
    return [line ? head.slice(0, line) : head.replace(/[\ud800-\udbff]$/, ""), false];
  }

  #show(piece, isWhole, { closed, final, open, fence }) {
    this.#tail.remove();
    if (closed.length) this.#close(closed);
    if (isWhole || final) {
      this.#source = this.#source.slice(final);
      this.#parsed = piece.length - final;
      const old = closed.length ? [] : this.#openTrees;
      if (closed.length) this.#open.replaceChildren();
      patch(this.#open, old, open);
      this.#openTrees = open;
    } else {
      // A block larger than a piece: it is cut, and a code block goes on as one.
      this.#close(open);
      this.#open.replaceChildren();
      this.#openTrees = [];
      this.#source = fence + this.#source.slice(piece.length);
      this.#parsed = 0;
    }
    this.#showTail();
  }

  #close(trees) {
    this.#closed.append(...trees.map(build).map(withCopyButton));
  }

  #showTail() {
    const isPlain = this.#failures >= MAX_FAILURES;
    const end = isPlain ? this.#source.length : this.#parsed + MAX_TAIL;
    const text = this.#source.slice(this.#parsed, end);
    this.#tail.textContent = text;
    if (!text) {
      this.#tail.remove();
    } else if (!this.#tail.isConnected) {
      let place = this.#open;
      while (HOLDS_TEXT.has(place.lastElementChild?.localName)) place = place.lastElementChild;
      place.append(this.#tail);
    }
  }
}

function withCopyButton(node) {
  if (node.localName !== "pre") return node;
  const code = node.firstElementChild;
  const button = element("button", { class: "plain small", type: "button" }, icon("copy"));
  label(button, "copy_code");
  copyOnClick(button, () => code.textContent);
  const language = element("span", { text: code.dataset.language ?? "" });
  return element("div", { class: "listing" }, element("div", {}, language, button), node);
}
