// Lists the operations of openapi.json and lets one try each; streams are shown as they come.
"use strict";

function element(tag, options = {}, ...children) {
  const node = document.createElement(tag);
  Object.assign(node, options);
  node.append(...children);
  return node;
}

// The key stays in this tab, and is gone when the tab is closed.
const key = {
  get: () => sessionStorage.getItem("flowcore.key"),
  set: (value) => sessionStorage.setItem("flowcore.key", value),
  forget: () => sessionStorage.removeItem("flowcore.key"),
};

function call(path, options = {}) {
  const headers = { ...options.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  return fetch(path, { ...options, headers });
}

function typeOf(schema) {
  const type = Array.isArray(schema.type) ? schema.type.join(" | ") : schema.type || "any";
  return schema.enum ? `${type}: ${schema.enum.map((v) => JSON.stringify(v)).join(", ")}` : type;
}

function example(schema) {
  const byType = { string: "", integer: 0, number: 0, boolean: false, array: [], object: {} };
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  return byType[schema.type] ?? "";
}

function exampleBody(schema) {
  const fields = Object.entries(schema.properties || {});
  return Object.fromEntries(fields.map(([name, field]) => [name, example(field)]));
}

function fieldTable(schema) {
  const required = new Set(schema.required || []);
  const rows = Object.entries(schema.properties || {}).map(([name, field]) =>
    element("tr", {},
      element("td", {}, element("code", { textContent: name })),
      element("td", { textContent: typeOf(field) }),
      element("td", { textContent: required.has(name) ? "required" : "" }),
      element("td", { textContent: field.description || "" })));
  if (rows.length === 0) return element("p", { textContent: "Any JSON object is accepted." });
  const heads = ["Field", "Type", "", "Description"].map((text) =>
    element("th", { textContent: text, scope: "col" }));
  return element("div", { className: "scroll" }, element("table", {},
    element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)));
}

// Yields the data of each event of a response body, as the bytes come.
async function* events(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let buffer = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      buffer += decoder.decode(value, { stream: true });
      const blocks = buffer.split("\n\n");
      buffer = blocks.pop();
      for (const block of blocks) {
        const data = block.split("\n").filter((line) => line.startsWith("data:"));
        if (data.length) yield data.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function showChunk(output, chunk) {
  const kind = chunk.chunk_type;
  const text = typeof chunk.chunk === "string" ? chunk.chunk : `${JSON.stringify(chunk.chunk)}\n`;
  const last = output.lastElementChild;
  if (last && last.dataset.kind === kind) {
    last.append(text);
  } else {
    const part = element("span", { className: kind, title: kind }, last ? `\n${text}` : text);
    part.dataset.kind = kind;
    output.append(part);
  }
  output.scrollTop = output.scrollHeight;
}

async function showStream(response, output, status) {
  const start = performance.now();
  let count = 0;
  for await (const data of events(response.body)) {
    if (data === "[DONE]") {
      const seconds = ((performance.now() - start) / 1000).toFixed(2);
      status.textContent = `${response.status} · ${count} chunks in ${seconds} s · [DONE]`;
      return;
    }
    count += 1;
    showChunk(output, JSON.parse(data));
    status.textContent = `${response.status} · ${count} chunks …`;
  }
  throw new Error("the stream was cut: it ended without [DONE]");
}

async function showBody(response, output, status) {
  status.textContent = `${response.status} ${response.statusText}`;
  const text = await response.text();
  try {
    output.textContent = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    output.textContent = text;
  }
}

function tryPanel(path, method, schema) {
  const output = element("pre", { className: "output", ariaLive: "polite" });
  const status = element("p", { className: "status", role: "status" });
  const send = element("button", { type: "submit", textContent: "Send" });
  const stop = element("button", { type: "button", textContent: "Stop", disabled: true });
  const form = element("form");
  let input = null;
  if (schema) {
    input = element("textarea", { spellcheck: false });
    input.value = JSON.stringify(exampleBody(schema), null, 2);
    form.append(element("label", {}, "Request body", input));
  }
  form.append(send, stop, status, output);

  let abort = null;
  stop.addEventListener("click", () => abort && abort.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    abort = new AbortController();
    send.disabled = true;
    stop.disabled = false;
    output.replaceChildren();
    status.className = "status";
    status.textContent = "…";
    try {
      const options = { method: method.toUpperCase(), signal: abort.signal };
      if (input) {
        options.body = input.value;
        options.headers = { "Content-Type": "application/json" };
      }
      const response = await call(path.slice(1), options);
      const type = response.headers.get("Content-Type") || "";
      const show = type.startsWith("text/event-stream") ? showStream : showBody;
      await show(response, output, status);
      if (!response.ok) status.classList.add("error");
    } catch (error) {
      status.classList.add("error");
      status.textContent = error.name === "AbortError" ? "stopped" : String(error.message || error);
    } finally {
      send.disabled = false;
      stop.disabled = true;
    }
  });
  return form;
}

function operationPanel(path, method, operation) {
  const content = operation.requestBody && operation.requestBody.content["application/json"];
  const streams = Object.values(operation.responses).some(
    (response) => response.content && "text/event-stream" in response.content);
  const head = element("summary", {},
    element("span", { className: "method", textContent: method.toUpperCase() }),
    element("span", { className: "path", textContent: path }));
  if (streams) head.append(element("span", { className: "badge", textContent: "stream" }));
  head.append(element("span", { className: "summary", textContent: operation.summary || "" }));
  const body = element("div");
  if (operation.description && operation.description !== operation.summary) {
    body.append(element("p", { className: "description", textContent: operation.description }));
  }
  if (content) body.append(fieldTable(content.schema));
  body.append(tryPanel(path, method, content && content.schema));
  return element("details", { className: "operation" }, head, body);
}

// Shows the field for the key where one is needed, or is in use.
function showAccess(refused) {
  const form = document.getElementById("access");
  const status = document.getElementById("access-status");
  form.hidden = !refused && !key.get();
  // A link cannot send the key.
  document.getElementById("document").hidden = !form.hidden;
  if (!refused) status.textContent = key.get() ? "Your key is in use in this tab." : "";
  else status.textContent = key.get() ? "This key is not known." : "This service asks for a key.";
}

async function show() {
  const list = document.getElementById("operations");
  list.setAttribute("aria-busy", "true");
  list.replaceChildren();
  showAccess(false);
  try {
    const response = await call("openapi.json");
    showAccess(response.status === 401);
    if (response.status === 401) return;
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    const api = await response.json();
    document.title = `${api.info.title} API`;
    document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
    for (const [path, item] of Object.entries(api.paths)) {
      for (const [method, operation] of Object.entries(item)) {
        list.append(operationPanel(path, method, operation));
      }
    }
    const first = list.querySelector("details");
    if (first) first.open = true;
  } catch (error) {
    list.append(element("p", { className: "error", textContent: `Cannot read openapi.json: ${error}` }));
  } finally {
    list.removeAttribute("aria-busy");
  }
}

function main() {
  const field = document.getElementById("key");
  document.getElementById("access").addEventListener("submit", (event) => {
    event.preventDefault();
    key.set(field.value.trim());
    field.value = "";
    show();
  });
  document.getElementById("forget").addEventListener("click", () => {
    key.forget();
    show();
  });
  show();
}

main();
