// The inputs of one flow, as a form or as JSON text.

import { byId, element } from "./elements.js";
import { Fault, fieldsOf, findField, isPlainObject, readAll, writeAll } from "./fields.js";
import { Tabs } from "./tabs.js";
import { say, translate } from "./texts.js";

export class Form {
  #fields = [];
  #fault = byId("form-fault");
  #place = byId("fields");
  #text = element("textarea", { class: "mono body", rows: "8", spellcheck: "false", id: "body" });
  #extra = {};
  #mode = "form";
  #tabs;

  constructor(changed) {
    this.#place.addEventListener("input", () => {
      this.#blame(null);
      changed();
    });
    this.#tabs = new Tabs(byId("modes"), "form_mode", ["form", "json"], (mode) => {
      if (this.#switch(mode)) changed();
    });
  }

  show(flow, inputs) {
    this.#fields = fieldsOf(flow.input_schema);
    this.#extra = {};
    this.#blame(null);
    this.#tabs.node.hidden = !this.#fields.length;
    if (inputs === undefined) this.#text.value = "{}";
    else this.#text.value = JSON.stringify(inputs, null, 2);
    if (this.#fields.length) this.#toForm(inputs);
    else this.#toJson();
    this.#tabs.select(this.#mode);
  }

  // Returns the JSON text of the inputs, or null and shows why there is none.
  read() {
    const { body, faulty = [], fault } = this.#mode === "json" ? this.#readText() : this.#readFields();
    this.#blame(fault ?? (faulty.length ? new Fault("inputs_faulty") : null));
    for (const { field, fault: wrong } of faulty) field.blame(wrong);
    if (faulty.length) faulty[0].field.focus();
    else if (fault) this.#text.focus();
    return body ?? null;
  }

  // Returns the inputs as far as they can be sent.
  draft() {
    if (this.#mode === "form") return { ...this.#extra, ...readAll(this.#fields).value };
    const { body } = this.#readText();
    return body && JSON.parse(body);
  }

  // Returns what `read` would, with something in the place of what is still missing.
  sketch() {
    if (this.#mode === "json") return this.#readText().body ?? null;
    const { value, faulty } = readAll(this.#fields);
    if (faulty.some(({ fault }) => fault.key !== "fault_required")) return null;
    const missing = faulty.filter(({ field }) => field.path.length === 1);
    const samples = Object.fromEntries(missing.map(({ field }) => [field.path[0], field.sample]));
    return JSON.stringify({ ...this.#extra, ...samples, ...value });
  }

  // Shows what the service found wrong.
  refuse({ errors, detail }) {
    const others = [];
    let first = null;
    for (const { loc, msg } of errors) {
      const field = this.#mode === "form" ? findField(this.#fields, loc) : undefined;
      const inside = field ? loc.slice(field.path.length) : loc;
      const text = inside.length ? `${inside.join(".")}: ${msg}` : msg;
      if (field) {
        field.blame(text);
        first ??= field;
      } else {
        others.push(text);
      }
    }
    this.#blame(others.length || !first ? others.join("\n") || detail : new Fault("inputs_faulty"));
    if (first) first.focus();
    else if (this.#mode === "json") this.#text.focus();
  }

  focus() {
    this.#place.querySelector("textarea, input, select")?.focus();
  }

  #readFields() {
    const { value, faulty } = readAll(this.#fields);
    return faulty.length ? { faulty } : { body: JSON.stringify({ ...this.#extra, ...value }) };
  }

  // The text is sent as it stands: a number in it keeps its digits.
  #readText() {
    try {
      const value = JSON.parse(this.#text.value);
      return isPlainObject(value) ? { body: this.#text.value } : { fault: new Fault("fault_object") };
    } catch (error) {
      return { fault: new Fault("fault_json", { reason: error.message }) };
    }
  }

  #switch(mode) {
    if (mode === this.#mode) return false;
    if (mode === "json") {
      const { value } = readAll(this.#fields);
      this.#text.value = JSON.stringify({ ...this.#extra, ...value }, null, 2);
      this.#toJson();
      return true;
    }
    const { body, fault } = this.#readText();
    this.#blame(fault ?? null);
    if (fault) {
      this.#tabs.select("json");
      return false;
    }
    this.#toForm(JSON.parse(body));
    return true;
  }

  #toForm(inputs) {
    this.#mode = "form";
    if (inputs) {
      const names = new Set(this.#fields.map(({ path }) => path[0]));
      this.#extra = Object.fromEntries(Object.entries(inputs).filter(([name]) => !names.has(name)));
      writeAll(this.#fields, inputs);
    }
    this.#place.replaceChildren(...this.#fields.map(({ node }) => node));
    // The language may have changed while they were not there.
    translate(this.#place);
  }

  #toJson() {
    this.#mode = "json";
    const label = say(element("label", { for: "body", class: "hint" }), "json_body");
    const children = [label, this.#text];
    if (!this.#fields.length) children.unshift(say(element("p", { class: "hint" }), "extra_hint"));
    this.#place.replaceChildren(element("div", { class: "field" }, ...children));
  }

  #blame(fault) {
    if (fault instanceof Fault) say(this.#fault, fault.key, fault.values);
    else {
      delete this.#fault.dataset.text;
      this.#fault.textContent = fault ?? "";
    }
  }
}
