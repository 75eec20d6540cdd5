// Usage and timing of a run.

import { element } from "./elements.js";
import { say } from "./texts.js";

const seconds = (milliseconds) => {
  const value = milliseconds / 1000;
  if (value < 1) return `${Math.round(milliseconds)} ms`;
  return `${value < 10 ? value.toFixed(2) : value.toFixed(1)} s`;
};

function rate({ chunks, reading }) {
  if (chunks < 2 || reading <= 0) return null;
  const value = (chunks - 1) / (reading / 1000);
  return value >= 100 ? Math.round(value).toLocaleString() : value.toFixed(1);
}

export function showNumbers(list, numbers, usage, { isStream }) {
  const rows = [
    ["first_chunk", isStream && numbers.first !== null ? seconds(numbers.first) : null],
    ["total", seconds(numbers.total)],
    ["chunks", isStream ? numbers.chunks.toLocaleString() : null],
    ["per_second", isStream ? rate(numbers) : null],
    ["tokens", usage?.total_tokens?.toLocaleString() ?? null],
  ];
  const shown = rows.filter(([, value]) => value !== null);
  if (list.children.length !== shown.length || list.dataset.rows !== String(shown.map(([k]) => k))) {
    list.dataset.rows = String(shown.map(([name]) => name));
    list.replaceChildren(...shown.map(([name]) =>
      element("div", {}, say(element("dt"), name), element("dd"))));
  }
  shown.forEach(([name, value], index) => {
    const cell = list.children[index].lastElementChild;
    if (cell.textContent !== value && name !== "tokens") cell.textContent = value;
    if (name === "tokens" && cell.dataset.total !== value) showTokens(cell, value, usage);
  });
  list.hidden = false;
}

function showTokens(cell, total, { prompt_tokens: prompt, completion_tokens: completion }) {
  cell.dataset.total = total;
  cell.replaceChildren(total);
  if (prompt === undefined || completion === undefined) return;
  const values = { prompt: prompt.toLocaleString(), completion: completion.toLocaleString() };
  cell.append(" ", say(element("small"), "tokens_split", values));
}

export { seconds };
