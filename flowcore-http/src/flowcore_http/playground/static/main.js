// The page: what the user does, what the runs say, and what is shown of it.

import { setUpAccess, showAccess } from "./access.js";
import { copyOnClick } from "./clipboard.js";
import { byId } from "./elements.js";
import { FlowPicker } from "./flow_picker.js";
import { Form } from "./form.js";
import { Graph } from "./graph.js";
import { History } from "./history.js";
import { Result } from "./result.js";
import { Run } from "./run.js";
import { fetchFlows } from "./service.js";
import { setUpShortcuts } from "./shortcuts.js";
import { curl, python } from "./snippets.js";
import { Tabs } from "./tabs.js";
import { say, setUpLanguage } from "./texts.js";
import { setUpTheme } from "./theme.js";
import { Transcript } from "./transcript.js";

const TICK_MILLISECONDS = 100;
const LANGUAGES = { curl: "curl", python: "Python" };

setUpTheme(byId("theme"));
setUpLanguage(byId("language"));

let service = { keys: false, flows: [] };
let run = null;
let codeLanguage = "curl";
let lastBody = "{}";
let shown = null;

const graph = new Graph();
const result = new Result();
const form = new Form(showCode);
const picker = new FlowPicker((flow) => showFlow(flow));
const history = new History({ show: showRecord, again: runAgain });
const drafts = new Map();
const tabs = new Tabs(byId("languages"), "code_language", Object.keys(LANGUAGES), (name) => {
  codeLanguage = name;
  showCode();
}, LANGUAGES);

function showFlow(flow, inputs) {
  run?.leave();
  run = null;
  lastBody = "{}";
  if (shown) drafts.set(shown.name, form.draft());
  shown = flow;
  form.show(flow, inputs ?? drafts.get(flow.name));
  graph.show(flow);
  result.empty();
  showButtons();
  showCode();
}

function showCode() {
  if (!picker.flow) return;
  // While something is half typed, the inputs before it stay.
  lastBody = form.sketch() ?? lastBody;
  byId("snippet").textContent =
    codeLanguage === "curl"
      ? curl(picker.flow, lastBody, service)
      : python(picker.flow, lastBody, service);
  tabs.select(codeLanguage);
}

function showButtons() {
  const isLive = run !== null && !run.ended;
  const focused = document.activeElement;
  byId("stop").hidden = byId("stop-here").hidden = !isLive;
  byId("run").disabled = isLive;
  // What had the focus may be gone.
  if (isLive && focused === byId("run")) byId("stop").focus({ preventScroll: true });
  if (!isLive && focused?.id.startsWith("stop")) byId("run").focus({ preventScroll: true });
}

function start() {
  if (!picker.flow || (run && !run.ended)) return;
  const body = form.read();
  if (body === null) return;
  const { flow } = picker;
  const transcript = new Transcript();
  graph.clear();
  result.begin(transcript);
  const mine = new Run(flow, body, {
    changed: (changed) => showRun(changed, transcript),
    chunk: (chunk) => {
      transcript.add(chunk);
      result.changed();
    },
    gap: (about) => {
      transcript.addGap(about);
      result.changed();
    },
    op: (about) => graph.mark(about),
  });
  run = mine;
  showRun(run, transcript);
  result.scrollIntoView();
  run.go();
}

function showRun(changed, transcript) {
  const { state, flow, numbers, problem } = changed;
  result.showState(state);
  result.showNumbers(numbers, flow);
  showButtons();
  const seconds = (numbers.total / 1000).toFixed(1);
  const reason = problem?.detail || changed.failure?.chunk || "";
  result.tell(state, { seconds, reason: String(reason).slice(0, 300), flow: flow.name });
  if (state === "running") result.clearBelow();
  if (!changed.ended) return;
  graph.settle();
  if (state === "cut") result.showCut(changed.canReadOn ? () => changed.readOn() : null);
  if (state === "refused") refuse(problem);
  if (state === "invalid") {
    result.showProblem(problem);
    form.refuse(problem);
    return;
  }
  history.add({
    at: Date.now(),
    body: changed.body,
    dropped: transcript.dropped,
    flow: flow.name,
    numbers,
    parts: transcript.parts,
    problem: problem && { ...problem },
    state,
    usage: transcript.usage,
  });
}

function refuse(problem) {
  result.showProblem(problem);
  if (problem.status === 401) open();
}

function showRecord({ flow: name, body, state, numbers, problem, ...rest }) {
  if (!service.flows.some((flow) => flow.name === name)) return;
  const flow = picker.choose(name);
  showFlow(flow, JSON.parse(body));
  result.begin(Transcript.from(rest));
  result.changed();
  result.showState(state);
  result.showNumbers(numbers, flow);
  if (problem) result.showProblem(problem);
  if (state === "cut") result.showCut(null);
  byId("result").focus();
}

function runAgain({ flow: name, body }) {
  if (!service.flows.some((flow) => flow.name === name)) return;
  showFlow(picker.choose(name), JSON.parse(body));
  start();
}

async function open() {
  const trouble = byId("trouble");
  trouble.hidden = true;
  try {
    service = await fetchFlows();
    showAccess(false);
    byId("main").hidden = false;
    picker.show(service.flows);
    const flow = picker.choose(picker.flow?.name);
    if (flow) showFlow(flow);
  } catch (error) {
    byId("main").hidden = true;
    showAccess(error.status === 401);
    if (error.status === 401) return;
    trouble.hidden = false;
    if (error.detail) trouble.textContent = error.detail;
    else say(trouble, "service_lost");
  }
}

function stop() {
  if (!run || run.ended) return false;
  run.stop();
  return true;
}

setUpAccess(open);
setUpShortcuts({ run: start, stop, flows: () => picker.focus() });
copyOnClick(byId("copy-code"), () => byId("snippet").textContent);
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  start();
});
for (const name of ["stop", "stop-here"]) byId(name).addEventListener("click", stop);
setInterval(() => {
  if (!run || run.ended) return;
  run.tick();
  result.showNumbers(run.numbers, run.flow);
}, TICK_MILLISECONDS);
open();
