// The runs of this tab, to look at again and to run again. They are gone when the tab is closed.

import { byId, element, icon } from "./elements.js";
import { readList, writeList } from "./memory.js";
import { seconds } from "./numbers.js";
import { label } from "./texts.js";

const MAX_RUNS = 20;
const MAX_TEXT = 50_000;

export class History {
  #records = readList("runs").filter(isRecord);
  #list = byId("runs");
  #card = byId("history");
  #shown;
  #again;

  constructor({ show, again }) {
    this.#shown = show;
    this.#again = again;
    byId("clear").addEventListener("click", () => {
      this.#records = [];
      this.#keep();
      byId("result").focus();
    });
    this.#draw();
  }

  add(record) {
    this.#records.unshift(withoutLongTexts(record));
    this.#keep();
  }

  #keep() {
    this.#records.length = Math.min(this.#records.length, MAX_RUNS);
    // There is room for a few million characters, in all.
    while (!writeList("runs", this.#records) && this.#records.length) this.#records.pop();
    this.#draw();
  }

  #draw() {
    this.#card.hidden = !this.#records.length;
    this.#list.replaceChildren(...this.#records.map((record) => this.#row(record)));
  }

  #row(record) {
    const time = new Date(record.at);
    const again = element("button", { class: "plain icon", type: "button" }, icon("again"));
    again.addEventListener("click", () => this.#again(record));
    return element("li", {},
      element("button", { class: "plain past", type: "button", onclick: () => this.#shown(record) },
        element("span", { class: `dot ${record.state}` }),
        element("span", { class: "name", text: record.flow, translate: "no" }),
        element("time", { datetime: time.toISOString(), text: shownAs(time) }),
        element("span", { class: "about", text: preview(record.body) }),
        element("span", { class: "took", text: seconds(record.numbers.total) })),
      label(again, "run_again"));
  }
}

// Another version of this page, or another service, may have used the same place.
function isRecord(record) {
  const isObject = (value) => typeof value === "object" && value !== null;
  return isObject(record) && Number.isFinite(new Date(record.at).getTime()) &&
    typeof record.flow === "string" && isObject(inputsOf(record.body)) &&
    isObject(record.numbers) && Array.isArray(record.parts) && record.parts.every(isObject);
}

function inputsOf(body) {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
}

const shownAs = (time) => time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

function preview(body) {
  const texts = Object.values(inputsOf(body) ?? {}).filter((value) => typeof value === "string");
  return texts.join(" · ").slice(0, 80);
}

function withoutLongTexts(record) {
  const parts = record.parts.slice(0, 200).map((part) => ({ ...part }));
  let room = MAX_TEXT;
  let dropped = record.dropped;
  for (const part of parts) {
    if (typeof part.text !== "string") continue;
    dropped += Math.max(0, part.text.length - room);
    part.text = part.text.slice(0, room);
    room -= part.text.length;
  }
  return { ...record, parts, dropped };
}
