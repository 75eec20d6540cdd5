// Decodes an event stream, as "Server-sent events" of the WHATWG HTML standard says.
// An EventSource could do it, but it can neither POST nor send a key.

export class EventDecoder {
  #rest = "";
  #data = [];
  #event = "";
  #id = "";
  #afterReturn = false;

  // Returns the events that `text`, a further piece of the stream, completes.
  feed(text) {
    const events = [];
    // The line end of "\r\n" may be cut in two.
    const half = this.#afterReturn && text.startsWith("\n");
    if (text) this.#afterReturn = text.endsWith("\r");
    if (half) text = text.slice(1);
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop();
    for (const line of lines) this.#take(line, events);
    return events;
  }

  #take(line, events) {
    if (line === "") {
      if (this.#data.length) {
        events.push({ data: this.#data.join("\n"), event: this.#event || "message", id: this.#id });
      }
      this.#data = [];
      this.#event = "";
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
  }
}
