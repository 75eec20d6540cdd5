// Reads lines of JSON, each a stream in pieces or a request, and prints the events that each parser
// makes of it as one line of JSON.
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";

const load = createRequire(path.join(process.argv[2], "here.js"));
const { EventSourceParserStream } = load("eventsource-parser/stream");
const { fetchEventSource } = load("@microsoft/fetch-event-source");

// What fetch-event-source takes from a browser.
globalThis.window = globalThis;
globalThis.document = { addEventListener() {}, removeEventListener() {} };

function request(question) {
  const headers = { "Content-Type": "application/json" };
  return { method: "POST", headers, body: question.body };
}

function open(question) {
  if (question.url !== undefined) return fetch(question.url, request(question));
  const pieces = question.pieces.map((piece) => Buffer.from(piece, "base64"));
  const body = new ReadableStream({
    pull(controller) {
      if (pieces.length === 0) controller.close();
      else controller.enqueue(new Uint8Array(pieces.shift()));
    },
  });
  return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
}

async function eventsourceParser(question) {
  const events = [];
  const response = await open(question);
  const stream = response.body
    .pipeThrough(new TextDecoderStream())
    .pipeThrough(new EventSourceParserStream({ onError: "terminate" }));
  for await (const { id, event, data } of stream) events.push({ id, event, data });
  return events;
}

async function fetchEventSourceEvents(question) {
  const events = [];
  await fetchEventSource(question.url ?? "/", {
    ...request(question),
    openWhenHidden: true,
    fetch: question.url === undefined ? () => open(question) : fetch,
    onmessage: ({ id, event, data }) => events.push({ id, event, data }),
    onerror(error) {
      if (!question.again) throw error;
      return 100;
    },
  });
  return events;
}

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  const answer = { "fetch-event-source": await fetchEventSourceEvents(question) };
  if (!question.again) answer["eventsource-parser"] = await eventsourceParser(question);
  process.stdout.write(JSON.stringify(answer) + "\n");
}
