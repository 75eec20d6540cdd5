// Requests to the service that this page came from.

import { key } from "./memory.js";

export const base = new URL("./", document.baseURI);

// What the service, or the way to it, has against a request.
export class Problem extends Error {
  constructor({ status = 0, code = "", detail = "", error_id = "", errors = [] }) {
    super(detail);
    Object.assign(this, { status, code, detail, errorId: error_id, errors });
  }
}

export async function call(path, { method = "GET", body, headers = {}, signal } = {}) {
  const all = { ...headers };
  if (key.get()) all.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) all["Content-Type"] = "application/json";
  const response = await fetch(new URL(path, base), {
    ...{ method, body, signal, headers: all },
    ...{ cache: "no-store", credentials: "same-origin", redirect: "error" },
  });
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  const { status } = response;
  try {
    return new Problem({ ...(await response.json()), status });
  } catch {
    return new Problem({ status, detail: `${status} ${response.statusText}` });
  }
}

export const fetchFlows = async () => (await call("playground/flows.json")).json();

export async function fetchMarkdown(text) {
  const body = JSON.stringify({ text });
  return (await call("playground/markdown", { method: "POST", body })).json();
}

export const runPath = (id, rest = "") => `runs/${encodeURIComponent(id)}${rest}`;
export const flowPath = (name) => encodeURIComponent(name);
