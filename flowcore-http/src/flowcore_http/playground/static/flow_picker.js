// The list of flows, of which one is chosen.

import { byId, element } from "./elements.js";
import { say } from "./texts.js";

const FILTER_FROM = 7;

export class FlowPicker {
  flow = null;
  #flows = [];
  #list = byId("flows");
  #filter = byId("filter");
  #none = say(element("p", { class: "hint", hidden: true }), "no_flows_match");
  #chosen;

  constructor(chosen) {
    this.#chosen = chosen;
    this.#filter.addEventListener("input", () => this.#narrow());
  }

  show(flows) {
    this.#flows = flows;
    this.#filter.hidden = flows.length < FILTER_FROM;
    const rows = flows.map((flow, index) => this.#row(flow, index));
    if (!flows.length) rows.push(say(element("p", { class: "hint" }), "flows_none"));
    this.#list.replaceChildren(...rows, this.#none);
  }

  // Without a name, or where there is none of it, the first one that streams: there is more to see.
  choose(name) {
    const named = this.#flows.find((flow) => flow.name === name);
    this.flow = named ?? this.#flows.find((flow) => flow.stream) ?? this.#flows[0] ?? null;
    const inputs = this.#list.querySelectorAll("input");
    if (this.flow) inputs[this.#flows.indexOf(this.flow)].checked = true;
    return this.flow;
  }

  focus() {
    const target = this.#filter.hidden ? this.#list.querySelector("input:checked") : this.#filter;
    target?.focus();
  }

  #row(flow, index) {
    const id = `flow-${index}`;
    const input = element("input", { type: "radio", name: "flow", value: String(index), id });
    input.setAttribute("aria-describedby", `${id}-about`);
    input.addEventListener("change", () => {
      this.flow = flow;
      this.#chosen(flow);
    });
    const kind = say(element("span", { class: "tag" }), flow.stream ? "streams" : "one_answer");
    return element("div", { class: "flow" }, input,
      element("label", { for: id },
        element("span", { class: "name", text: flow.name, translate: "no" }), kind),
      element("p", { class: "about", id: `${id}-about`, text: flow.description, dir: "auto" }));
  }

  #narrow() {
    const wanted = this.#filter.value.trim().toLowerCase();
    let found = 0;
    this.#list.querySelectorAll(".flow").forEach((row, index) => {
      const { name, description } = this.#flows[index];
      row.hidden = !`${name} ${description}`.toLowerCase().includes(wanted);
      if (!row.hidden) found += 1;
    });
    this.#none.hidden = found > 0;
  }
}
