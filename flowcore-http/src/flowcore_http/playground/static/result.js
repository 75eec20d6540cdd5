// The result of one run, as it comes or as the history has it.

import { copyOnClick } from "./clipboard.js";
import { byId, element, icon } from "./elements.js";
import { showNumbers } from "./numbers.js";
import { facts } from "./parts.js";
import { say, t } from "./texts.js";
import { Transcript } from "./transcript.js";
import { TranscriptView } from "./transcript_view.js";

const LIVE = new Set(["starting", "running", "reconnecting", "stopping"]);

export class Result {
  #transcript = new Transcript();
  #view = null;
  #card = byId("result");
  #place = byId("transcript");
  #below = element("div", { class: "below" });

  constructor() {
    copyOnClick(byId("copy-answer"), () => this.#transcript.answer);
    this.#place.after(this.#below);
    this.empty();
  }

  empty() {
    this.#view?.leave();
    this.#view = null;
    this.#transcript = new Transcript();
    this.#below.replaceChildren();
    byId("state").hidden = byId("numbers").hidden = byId("copy-answer").hidden = true;
    this.#place.replaceChildren(element("div", { class: "empty" },
      say(element("p", { class: "empty-title" }), "empty_title"),
      say(element("p"), "empty_text")));
  }

  begin(transcript) {
    this.#view?.leave();
    this.#transcript = transcript;
    this.#view = new TranscriptView(this.#place, transcript);
    this.#below.replaceChildren();
    byId("copy-answer").hidden = true;
  }

  changed() {
    this.#view.changed();
    if (byId("copy-answer").hidden && this.#transcript.answer) byId("copy-answer").hidden = false;
  }

  showState(state) {
    const chip = byId("state");
    chip.hidden = false;
    chip.className = `state ${state}`;
    chip.replaceChildren(element("span", { class: "dot" }), say(element("span"), `state_${state}`));
    this.#card.classList.toggle("live", LIVE.has(state));
    this.#place.setAttribute("aria-busy", String(LIVE.has(state)));
    if (!LIVE.has(state)) this.#view.end();
  }

  showNumbers(numbers, flow) {
    showNumbers(byId("numbers"), numbers, this.#transcript.usage, { isStream: flow.stream });
  }

  // Tells those who cannot see the page, in one sentence.
  tell(state, values) {
    say(byId("status"), `status_${state}`, values);
  }

  showProblem({ status, code, detail, errorId }) {
    const text = detail || t("service_lost");
    const node = element("section", { class: "failure" },
      element("p", { class: "plain-text", text }),
      facts([["error_code", [status || "", code].filter(Boolean).join(" ")], ["error_id", errorId]]));
    if (errorId && code) node.append(say(element("p", { class: "quiet" }), "error_hint", { code }));
    this.#below.replaceChildren(node);
  }

  showCut(readOn) {
    const button = element("button", { class: "secondary", type: "button", onclick: readOn },
      icon("again"), say(element("span"), "read_on"));
    this.#below.replaceChildren(element("div", { class: "notice bad" },
      say(element("p"), "cut_text"), ...(readOn ? [button] : [])));
  }

  clearBelow() {
    this.#below.replaceChildren();
  }

  scrollIntoView() {
    const { top } = this.#card.getBoundingClientRect();
    if (top < 0 || top > window.innerHeight * 0.7) {
      this.#card.scrollIntoView({ block: "start", behavior: "smooth" });
    }
  }
}
