// What a run has said, in parts that can be shown and kept; bounded, however much it says.

export const MAX_CHARACTERS = 1_000_000;
const MAX_PARTS = 2000;
const RESULT_MEMBERS = ["result", "output", "content"];
const ID_MEMBERS = ["id", "tool_call_id", "call_id"];

const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const idOf = (value) => ID_MEMBERS.map((name) => value[name]).find((id) => id !== undefined);

export class Transcript {
  parts = [];
  usage = null;
  characters = 0;
  dropped = 0;

  static from({ parts, usage, dropped }) {
    return Object.assign(new Transcript(), { parts, usage, dropped });
  }

  // The text of the answer, without what else was said.
  get answer() {
    const texts = this.parts.filter((part) => part.kind === "answer").map((part) => part.text);
    return texts.join("\n\n");
  }

  add({ chunk_type: kind, chunk, metadata = {} }) {
    if (kind === "usage" && isObject(chunk)) this.#addUsage(chunk, metadata);
    else if (kind === "response") this.#addResponse(chunk);
    else if (kind === "error") this.#push({ kind, text: String(chunk), metadata });
    else if (kind === "tool") this.#addTool(chunk);
    else if (typeof chunk === "string") this.#addText(kind, chunk);
    else this.#push({ kind: "data", title: kind, value: chunk });
  }

  addGap({ first, last }) {
    this.#push({ kind: "gap", values: { first, last } });
  }

  #addText(kind, text) {
    const room = MAX_CHARACTERS - this.characters;
    this.dropped += Math.max(0, text.length - room);
    const kept = text.length > room ? text.slice(0, Math.max(0, room)) : text;
    this.characters += kept.length;
    if (!kept) return;
    const last = this.parts.at(-1);
    if (last?.kind === kind) last.text += kept;
    else this.#push({ kind, text: kept });
  }

  #addTool(chunk) {
    const result = isObject(chunk) && RESULT_MEMBERS.find((name) => chunk[name] !== undefined);
    if (result) {
      const isCall = (part) => part.kind === "tool" && part.id !== undefined && !part.hasResult;
      const call = this.parts.findLast((part) => isCall(part) && part.id === idOf(chunk));
      if (call) {
        Object.assign(call, { result: chunk[result], hasResult: true });
        return;
      }
    }
    if (!isObject(chunk)) {
      this.#push({ kind: "tool", name: "", arguments: chunk });
      return;
    }
    const { name = "", arguments: given, ...others } = chunk;
    const part = { kind: "tool", name: String(name), id: idOf(chunk) };
    if (given !== undefined) part.arguments = given;
    if (result) Object.assign(part, { result: chunk[result], hasResult: true });
    else if (given === undefined) part.arguments = others;
    this.#push(part);
  }

  #addUsage(chunk, metadata) {
    this.usage ??= {};
    for (const [name, value] of Object.entries(chunk)) {
      if (typeof value === "number") this.usage[name] = (this.usage[name] ?? 0) + value;
    }
    if (metadata.finish_reason) this.usage.finish_reason = String(metadata.finish_reason);
  }

  #addResponse({ answer, success, metadata }) {
    if (typeof answer === "string") this.#addText("answer", answer);
    else this.#push({ kind: "data", title: "answer", value: answer });
    if (success === false) this.#push({ kind: "unsuccessful" });
    if (isObject(metadata) && Object.keys(metadata).length) {
      this.#push({ kind: "data", title: "metadata", value: metadata });
    }
  }

  #push(part) {
    if (this.parts.length < MAX_PARTS || part.kind === "error") this.parts.push(part);
    else this.dropped += JSON.stringify(part).length;
  }
}
