// The life of one run as this page sees it: from the request to the end mark, over cuts.

import { EventDecoder } from "./sse.js";
import { call, flowPath, Problem, runPath } from "./service.js";

const RETRY_DELAYS = [300, 1000, 3000];
const STOP_MILLISECONDS = 4000;
const SLICE_MILLISECONDS = 12;
const ENDED = new Set(["done", "failed", "stopped", "cut", "refused", "invalid"]);

// Lets the browser draw and react.
const breathe = () => new Promise((resolve) => setTimeout(resolve));

function sleep(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", abort);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", abort, { once: true });
  });
}

// States: starting, running, reconnecting, stopping; done, failed, stopped, cut, refused, invalid.
export class Run {
  state = "starting";
  id = "";
  problem = null;
  numbers = { chunks: 0, first: null, total: 0, reading: 0 };
  #began = performance.now();
  #firstAt = 0;
  #abort = new AbortController();
  #lastEvent = "";
  #marked = false;
  #failure = null;
  #resumed = false;
  #listener;

  // `body` is the JSON text that is sent; the listener has `changed`, `chunk`, `op` and `gap`.
  constructor(flow, body, listener) {
    this.flow = flow;
    this.body = body;
    this.#listener = listener;
  }

  get ended() {
    return ENDED.has(this.state);
  }

  async go() {
    const headers = { Accept: "text/event-stream, application/json", "Flowcore-Trace": "ops" };
    try {
      const { signal } = this.#abort;
      const options = { method: "POST", body: this.body, headers, signal };
      await this.#take(await call(flowPath(this.flow.name), options));
    } catch (error) {
      this.#fail(error);
    }
  }

  // Goes on with a run whose stream was cut.
  async readOn() {
    if (this.state !== "cut" || !this.#lastEvent) return;
    this.#abort = new AbortController();
    this.#failure = null;
    this.#turn("reconnecting");
    try {
      await this.#follow(await this.#reconnect(0));
    } catch (error) {
      this.#fail(error);
    }
  }

  async stop() {
    if (this.ended || this.state === "stopping") return;
    const isRead = this.state === "running" || this.state === "reconnecting";
    this.#turn("stopping");
    if (isRead ? !this.id : !this.flow.stream) {
      this.#abort.abort();
      return;
    }
    // The end of the stream tells how it went; but nobody shall have to wait for it.
    setTimeout(() => this.#abort.abort(), STOP_MILLISECONDS);
    // Its id comes at once. Browsers may read on for seconds what is aborted just then.
    if (!isRead) return;
    try {
      await call(runPath(this.id, "/cancel"), { method: "POST" });
    } catch {
      this.#abort.abort();
    }
  }

  // Lets go of it without a word: the page shows something else.
  leave() {
    this.#listener = { changed() {}, chunk() {}, op() {}, gap() {} };
    this.stop();
  }

  tick() {
    if (!this.ended) this.numbers.total = performance.now() - this.#began;
    if (this.#firstAt && !this.ended) this.numbers.reading = performance.now() - this.#firstAt;
  }

  async #take(response) {
    this.id = response.headers.get("X-Run-Id") ?? "";
    if ((response.headers.get("Content-Type") ?? "").startsWith("text/event-stream")) {
      if (this.state === "stopping") this.#cancelLate();
      else this.#turn("running");
      await this.#follow(response);
      return;
    }
    const answer = await response.json();
    this.#count();
    this.#listener.chunk({ chunk_type: "response", chunk: answer, metadata: {} });
    this.#turn("done");
  }

  #cancelLate() {
    call(runPath(this.id, "/cancel"), { method: "POST" }).catch(() => this.#abort.abort());
  }

  async #follow(response) {
    let current = response;
    let attempt = 0;
    while (current) {
      const before = this.#lastEvent;
      try {
        await this.#read(current);
      } catch (error) {
        if (this.#abort.signal.aborted || error instanceof Problem) throw error;
      }
      if (this.#marked || current.status === 204) {
        this.#finish();
        return;
      }
      if (this.#lastEvent !== before) attempt = 0;
      if (this.state !== "stopping") this.#turn("reconnecting");
      current = await this.#reconnect(attempt);
      attempt += 1;
    }
    this.#turn("cut");
  }

  // Returns a response with the rest of the stream, or null.
  async #reconnect(attempt) {
    const { signal } = this.#abort;
    for (let count = attempt; count < RETRY_DELAYS.length && this.#lastEvent; count += 1) {
      await sleep(RETRY_DELAYS[count], signal);
      try {
        const headers = { "Last-Event-ID": this.#lastEvent };
        const response = await call(runPath(this.id, "/events"), { headers, signal });
        this.#resumed = true;
        if (this.state === "reconnecting") this.#turn("running");
        return response;
      } catch (error) {
        if (signal.aborted) throw error;
        if (error instanceof Problem && error.status < 500 && error.status !== 429) return null;
      }
    }
    return null;
  }

  async #read(response) {
    const reader = response.body.getReader();
    const bytes = new TextDecoder();
    const decoder = new EventDecoder();
    let since = performance.now();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        for (const event of decoder.feed(bytes.decode(value, { stream: true }))) {
          this.#event(event);
          if (this.#marked) return;
          if (performance.now() - since > SLICE_MILLISECONDS) {
            await breathe();
            since = performance.now();
          }
        }
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  #event({ event, data, id }) {
    if (id) this.#lastEvent = id;
    if (data === "[DONE]") {
      this.#marked = true;
    } else if (event === "op") {
      this.#listener.op(JSON.parse(data));
    } else if (event === "gap") {
      this.#listener.gap(JSON.parse(data));
    } else if (event === "message") {
      const chunk = JSON.parse(data);
      this.#count();
      if (chunk.chunk_type === "error") this.#failure = chunk;
      this.#listener.chunk(chunk);
    }
  }

  #count() {
    const now = performance.now();
    if (!this.#firstAt) {
      this.#firstAt = now;
      this.numbers.first = now - this.#began;
    }
    this.numbers.chunks += 1;
    this.numbers.reading = now - this.#firstAt;
  }

  #finish() {
    const about = this.#failure?.metadata ?? {};
    if (!this.#failure) this.#turn("done");
    else if (about.code !== "cancelled") this.#turn("failed");
    else if (this.#resumed && ["client", "write_timeout"].includes(about.reason)) this.#turn("cut");
    else this.#turn("stopped");
  }

  #fail(error) {
    if (this.#abort.signal.aborted) {
      this.#turn("stopped");
      return;
    }
    this.problem = error instanceof Problem ? error : new Problem({ detail: "" });
    this.#turn(this.problem.code === "invalid_input" ? "invalid" : "refused");
  }

  #turn(state) {
    this.numbers.total = performance.now() - this.#began;
    this.state = state;
    this.#listener.changed(this);
  }

  get failure() {
    return this.#failure;
  }

  // Whether the rest may still be there: the service has not told that it ended with the cut.
  get canReadOn() {
    return this.state === "cut" && this.#lastEvent !== "" && !this.#marked;
  }
}
