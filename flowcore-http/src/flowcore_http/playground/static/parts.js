// How each part of a transcript looks. A view has `update`; `settle` tells it that nothing will be added,
// `leave` that nobody looks any more.

import { element, icon } from "./elements.js";
import { GrowingMarkdown } from "./markdown.js";
import { say } from "./texts.js";

const MAX_JSON = 20_000;
const MAX_LINE = 52;

export function viewOf(part) {
  return (VIEWS[part.kind] ?? textView)(part);
}

// Calls `grow` with what a text has gained since the last time.
function growing(part, grow) {
  let shown = 0;
  return () => {
    if (part.text.length > shown) grow(part.text.slice(shown));
    shown = part.text.length;
  };
}

function answerView(part) {
  const node = element("div", { class: "answer" });
  const markdown = new GrowingMarkdown(node);
  const update = growing(part, (text) => markdown.append(text));
  return { node, update, settle: () => markdown.end(), leave: () => markdown.leave() };
}

function thinkView(part) {
  const text = element("p", { class: "plain-text" });
  const title = say(element("span"), "thinking");
  const node = element("details", { class: "think", open: true },
    element("summary", {}, element("span", { class: "dot" }), title), text);
  let touched = false;
  node.querySelector("summary").addEventListener("click", () => {
    touched = true;
  });
  return {
    node,
    update: growing(part, (more) => text.append(more)),
    // What comes after it is more interesting, unless somebody wants to read it.
    settle: () => {
      node.classList.add("settled");
      say(title, "thought");
      if (!touched) node.open = false;
    },
  };
}

function textView(part) {
  const node = element("div", { class: "other" });
  const text = element("p", { class: "plain-text" });
  node.append(element("h3", { class: "small-title", text: part.kind }), text);
  return { node, update: growing(part, (more) => text.append(more)) };
}

// JSON text is shown as JSON, whatever else as it is.
function pretty(value) {
  const text = typeof value === "string" ? prettyText(value) : compact(value);
  return text.length > MAX_JSON ? `${text.slice(0, MAX_JSON)}\n…` : text;
}

function prettyText(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" ? compact(value) : text;
  } catch {
    return text;
  }
}

// What is short stays on one line.
function compact(value, indent = "") {
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  // Within a text, JSON has no line ends.
  const line = JSON.stringify(value, null, 1).replace(/\n\s*/g, " ");
  if (line.length + indent.length <= MAX_LINE) return line;
  const inner = `${indent}  `;
  const isList = Array.isArray(value);
  const lines = Object.entries(value).map(([name, one]) =>
    `${inner}${isList ? "" : `${JSON.stringify(name)}: `}${compact(one, inner)}`);
  return `${isList ? "[" : "{"}\n${lines.join(",\n")}\n${indent}${isList ? "]" : "}"}`;
}

function labelled(title, value) {
  return [
    say(element("h4", { class: "small-title" }), title),
    element("pre", { class: "value", tabindex: "0", text: pretty(value) }),
  ];
}

function toolView(part) {
  const node = element("section", { class: "tool" });
  const head = element("h3", {}, icon("tool"));
  const name = element("span", { class: "name", text: part.name, translate: "no" });
  head.append(part.name ? name : say(element("span"), "tool"));
  const kind = say(element("span", { class: "tag" }), "calls_tool");
  node.append(element("div", { class: "tool-head" }, head, kind));
  if (part.arguments !== undefined) node.append(...labelled("arguments", part.arguments));
  let hasResult = false;
  return {
    node,
    update: () => {
      if (!part.hasResult || hasResult) return;
      hasResult = true;
      node.append(...labelled("tool_result", part.result));
    },
  };
}

const TITLES = { answer: "answer", metadata: "metadata" };

function dataView(part) {
  const node = element("section", { class: "data" });
  const title = TITLES[part.title];
  const head = element("h3", { class: "small-title", text: part.title });
  if (title) say(head, title);
  node.append(head, element("pre", { class: "value", tabindex: "0", text: pretty(part.value) }));
  return { node, update() {} };
}

export function facts(pairs) {
  const list = element("dl", { class: "facts" });
  for (const [title, value] of pairs) {
    if (!value) continue;
    list.append(element("div", {}, say(element("dt"), title), element("dd", { text: String(value) })));
  }
  return list;
}

function errorView({ text, metadata }) {
  const { code, error_id: id, op } = metadata;
  const node = element("section", { class: code === "cancelled" ? "notice" : "failure" }, element("p", { class: "plain-text", text }));
  node.append(facts([["error_code", code], ["error_op", op], ["error_id", id]]));
  if (id && code) node.append(say(element("p", { class: "quiet" }), "error_hint", { code }));
  return { node, update() {} };
}

const gapView = ({ values }) => ({
  node: say(element("p", { class: "notice" }), "gap_text", values),
  update() {},
});

const unsuccessfulView = () => ({
  node: say(element("p", { class: "notice bad" }), "unsuccessful"),
  update() {},
});

const VIEWS = {
  answer: answerView,
  think: thinkView,
  tool: toolView,
  data: dataView,
  error: errorView,
  gap: gapView,
  unsuccessful: unsuccessfulView,
};
