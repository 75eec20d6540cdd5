// The flow drawn, with the ops lit that are running.

import { byId } from "./elements.js";
import { buildSvg } from "./tree.js";

const STATES = ["started", "finished", "failed", "cancelled"];

export class Graph {
  #card = byId("graph");
  #drawing = byId("drawing");
  #running = new Map();

  show(flow) {
    this.#card.hidden = !flow.graph;
    this.#drawing.replaceChildren(...(flow.graph ? [buildSvg(flow.graph)] : []));
  }

  clear() {
    this.#running.clear();
    for (const node of this.#drawing.querySelectorAll("[data-op]")) node.classList.remove(...STATES);
  }

  // An op of the run has begun or ended.
  mark({ op, state }) {
    if (!STATES.includes(state)) return;
    // An op may be called several times at once.
    const count = (this.#running.get(op) ?? 0) + (state === "started" ? 1 : -1);
    this.#running.set(op, count);
    if (state !== "started" && count > 0) return;
    for (const node of this.#drawing.querySelectorAll("[data-op]")) {
      if (node.dataset.op !== op) continue;
      node.classList.remove(...STATES);
      node.classList.add(state);
    }
  }

  // The run has ended without telling of each op.
  settle() {
    for (const node of this.#drawing.querySelectorAll(".started")) {
      node.classList.replace("started", "cancelled");
    }
  }
}
