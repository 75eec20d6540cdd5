// The same call in other languages.

import { base, flowPath } from "./service.js";

const KEYWORDS = new Set([
  ...["False", "None", "True", "and", "as", "assert", "async", "await", "break", "class"],
  ...["continue", "def", "del", "elif", "else", "except", "finally", "for", "from", "global"],
  ...["if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return"],
  ...["try", "while", "with", "yield", "self"],
]);

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function curl(flow, body, { keys }) {
  const lines = [
    `curl ${flow.stream ? "-N " : ""}${quoted(new URL(flowPath(flow.name), base).href)}`,
    `-H 'Content-Type: application/json'`,
    ...(keys ? [`-H "Authorization: Bearer $FLOWCORE_API_KEY"`] : []),
    `-d ${quoted(body)}`,
  ];
  return lines.join(" \\\n  ");
}

export function python(flow, body, { keys }) {
  const address = literal(base.href.replace(/\/$/, ""));
  const call = `(${literal(flow.name)}${argumentsOf(JSON.parse(body))})`;
  return [
    ...(keys ? ["import os", ""] : []),
    "from flowcore_http import SyncHttpClient",
    "",
    keys
      ? `with SyncHttpClient(${address}, api_key=os.environ["FLOWCORE_API_KEY"]) as client:`
      : `with SyncHttpClient(${address}) as client:`,
    ...(flow.stream
      ? [
          `    for chunk in client.execute_stream_flow${call}:`,
          `        if chunk["type"] == "answer":`,
          `            print(chunk["content"], end="", flush=True)`,
          `        elif chunk["type"] == "error":`,
          `            raise SystemExit(chunk["content"])`,
        ]
      : [`    print(client.execute_flow${call}.answer)`]),
    "",
  ].join("\n");
}

function argumentsOf(inputs) {
  const isName = (name) => /^[A-Za-z_]\w*$/.test(name) && !KEYWORDS.has(name);
  const entries = Object.entries(inputs);
  const named = entries.filter(([name]) => isName(name));
  const others = entries.filter(([name]) => !isName(name));
  const parts = named.map(([name, value]) => `${name}=${literal(value)}`);
  if (others.length) parts.push(`**${literal(Object.fromEntries(others))}`);
  return parts.map((part) => `, ${part}`).join("");
}

// JSON strings are Python strings, but for what JavaScript leaves unescaped.
function literal(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    const members = Object.entries(value).map(([name, one]) => `${literal(name)}: ${literal(one)}`);
    return `{${members.join(", ")}}`;
  }
  return JSON.stringify(value).replace(/\u007f/g, "\\x7f");
}
