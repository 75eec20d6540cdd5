// The fields of a form: one for each input that a flow names. A field has `node`, `read`, which
// returns `{ value }`, `{}` for what is not sent, or `{ fault }`; `write`, and `blame`.

import { element } from "./elements.js";
import { say } from "./texts.js";

const SAMPLES = { string: "…", integer: 0, number: 0, boolean: false, array: [], object: {} };
let count = 0;

class Fault {
  constructor(key, values) {
    this.key = key;
    this.values = values;
  }
}

export function fieldOf(name, schema, isRequired, path = []) {
  const here = [...path, name];
  if (schema.type === "object" && Object.keys(schema.properties ?? {}).length) {
    return groupOf(name, schema, isRequired, here);
  }
  return singleOf(name, schema, isRequired, here);
}

export function fieldsOf(schema, path = []) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, field]) =>
    fieldOf(name, field, required.has(name), path));
}

function singleOf(name, schema, isRequired, path) {
  count += 1;
  const id = `field-${count}`;
  const control = controlOf(schema, isRequired);
  const input = control.node;
  input.id = id;
  const fault = element("p", { class: "fault", id: `${id}-fault`, hidden: true });
  const hint = element("p", { class: "hint", id: `${id}-hint`, text: schema.description ?? "" });
  hint.hidden = !schema.description;
  input.setAttribute("aria-describedby", `${id}-hint ${id}-fault`);
  if (isRequired) input.setAttribute("aria-required", "true");

  const blame = (message) => {
    fault.hidden = !message;
    if (message instanceof Fault) say(fault, message.key, message.values);
    else {
      delete fault.dataset.text;
      fault.textContent = message;
    }
    if (message) input.setAttribute("aria-invalid", "true");
    else input.removeAttribute("aria-invalid");
  };
  input.addEventListener("input", () => blame(""));

  return {
    path,
    blame,
    sample: schema.enum ? schema.enum[0] : SAMPLES[schema.type],
    node: element("div", { class: `field ${control.kind}` }, headOf(name, id, schema, isRequired),
      hint, input, fault),
    focus: () => input.focus(),
    write: (value) => control.write(value),
    read: () => {
      const { value, fault: wrong } = control.read();
      const missing = value === undefined && isRequired && !wrong && schema.default === undefined;
      const found = wrong ?? (missing ? new Fault("fault_required") : null);
      if (found) return { fault: found };
      return value === undefined ? {} : { value };
    },
  };
}

function headOf(name, id, schema, isRequired) {
  const kind = schema.type === "array" && schema.items ? `array of ${schema.items.type}` : schema.type;
  const type = element("span", { class: "type", text: schema.enum ? "" : kind, translate: "no" });
  const head = element("div", { class: "field-head" },
    element("label", { for: id, text: name, translate: "no" }), type);
  if (isRequired) head.append(say(element("span", { class: "tag" }), "required"));
  if (schema.default !== undefined) {
    const value = typeof schema.default === "string" ? schema.default : JSON.stringify(schema.default);
    const shown = value.length > 40 ? `${value.slice(0, 40)}…` : value;
    head.append(say(element("span", { class: "type" }), "default_is", { value: shown }));
  }
  return head;
}

function groupOf(name, schema, isRequired, path) {
  const fields = fieldsOf(schema, path);
  const legend = element("legend", { text: name, translate: "no" });
  if (isRequired) legend.append(" ", say(element("span", { class: "tag" }), "required"));
  const node = element("fieldset", {}, legend);
  if (schema.description) node.append(element("p", { class: "hint", text: schema.description }));
  node.append(...fields.map((field) => field.node));
  return {
    path,
    fields,
    node,
    blame: (message) => fields[0].blame(message),
    focus: () => fields[0].focus(),
    write: (value) => writeAll(fields, value ?? {}),
    read: () => {
      const { value, faulty } = readAll(fields);
      if (faulty.length) {
        // A group that nobody has to send, and nobody has begun, is none.
        if (!isRequired && !Object.keys(value).length && faulty.every(isMissing)) return {};
        return { faulty };
      }
      return !isRequired && !Object.keys(value).length ? {} : { value };
    },
  };
}

const isMissing = ({ fault }) => fault.key === "fault_required";

export function readAll(fields) {
  const value = {};
  const faulty = [];
  for (const field of fields) {
    const read = field.read();
    if (read.faulty) faulty.push(...read.faulty);
    else if (read.fault) faulty.push({ field, fault: read.fault });
    else if ("value" in read) value[field.path.at(-1)] = read.value;
  }
  return { value, faulty };
}

export function writeAll(fields, values) {
  for (const field of fields) field.write(values[field.path.at(-1)]);
}

// Finds the field that a fault of the service is about, or the nearest around it.
export function findField(fields, path) {
  const inside = fields.find(({ path: own }) => own.every((part, index) => part === path[index]));
  return inside?.fields ? findField(inside.fields, path) ?? inside : inside;
}

// --- the controls ---

function controlOf(schema, isRequired) {
  if (schema.enum) return choice(schema.enum.map((value) => [value, shownAs(value)]), schema, isRequired);
  if (schema.type === "boolean") {
    if (isRequired || schema.default !== undefined) return toggle(schema);
    return choice([[true, "true"], [false, "false"]], schema, isRequired);
  }
  if (schema.type === "integer" || schema.type === "number") return numeric(schema);
  if (schema.type === "array" || schema.type === "object") return json(schema);
  return text(schema);
}

const shownAs = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function choice(options, schema, isRequired) {
  const node = element("select", { translate: "no" });
  const hasNone = !isRequired && schema.default === undefined;
  const mustChoose = isRequired && schema.default === undefined;
  if (hasNone) node.append(say(element("option", { value: "" }), "not_sent"));
  if (mustChoose) node.append(element("option", { value: "", text: "…" }));
  options.forEach(([, shown], index) => {
    node.append(element("option", { value: String(index), text: shown }));
  });
  const write = (value) => {
    const wanted = JSON.stringify(value ?? schema.default);
    const index = options.findIndex(([option]) => JSON.stringify(option) === wanted);
    node.value = index < 0 ? node.options[0].value : String(index);
  };
  write();
  const read = () => (node.value === "" ? {} : { value: options[Number(node.value)][0] });
  return { kind: "choice", node, write, read };
}

function toggle(schema) {
  const node = element("input", { type: "checkbox", role: "switch" });
  const write = (value) => {
    node.checked = value ?? schema.default ?? false;
  };
  write();
  return { kind: "toggle", node, write, read: () => ({ value: node.checked }) };
}

function numeric(schema) {
  const isWhole = schema.type === "integer";
  const mode = isWhole ? "numeric" : "decimal";
  const node = element("input", { type: "text", inputmode: mode, autocomplete: "off" });
  const write = (value) => {
    node.value = value ?? schema.default ?? "";
  };
  write();
  const read = () => {
    const typed = node.value.trim();
    if (!typed) return {};
    const pattern = isWhole ? /^[-+]?\d+$/ : /^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$/;
    const value = Number(typed);
    if (!pattern.test(typed) || !Number.isFinite(value)) return { fault: new Fault(`fault_${schema.type}`) };
    if (isWhole && !Number.isSafeInteger(value)) return { fault: new Fault("fault_precision") };
    return { value };
  };
  return { kind: "numeric", node, write, read };
}

function json(schema) {
  const placeholder = schema.type === "array" ? "[…]" : "{…}";
  const node = element("textarea", { class: "mono", rows: "2", spellcheck: "false", placeholder });
  const write = (value) => {
    const given = value ?? schema.default;
    node.value = given === undefined ? "" : JSON.stringify(given, null, 1).replace(/\n\s*/g, " ");
  };
  write();
  const read = () => {
    if (!node.value.trim()) return {};
    const fault = new Fault(`fault_${schema.type}`);
    try {
      const value = JSON.parse(node.value);
      const isRight = schema.type === "array" ? Array.isArray(value) : isPlainObject(value);
      return isRight ? { value } : { fault };
    } catch {
      return { fault };
    }
  };
  return { kind: "json", node, write, read };
}

export const isPlainObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function text(schema) {
  const node = element("textarea", { rows: "2", dir: "auto" });
  const write = (value) => {
    node.value = value ?? schema.default ?? "";
  };
  write();
  return { kind: "text", node, write, read: () => (node.value === "" ? {} : { value: node.value }) };
}

export { Fault };
