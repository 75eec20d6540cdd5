// Asks for a key where the service does.

import { byId } from "./elements.js";
import { key } from "./memory.js";
import { say } from "./texts.js";

export function setUpAccess(retry) {
  byId("access").addEventListener("submit", (event) => {
    event.preventDefault();
    const field = byId("key");
    if (!field.value.trim()) return;
    key.set(field.value.trim());
    field.value = "";
    retry();
  });
  byId("forget").addEventListener("click", () => {
    key.forget();
    retry();
  });
}

export function showAccess(isRefused) {
  byId("access").hidden = !isRefused;
  byId("forget").hidden = isRefused || !key.get();
  const fault = byId("key-error");
  delete fault.dataset.text;
  fault.textContent = "";
  if (!isRefused) return;
  if (key.get()) say(fault, "key_wrong");
  byId("key").toggleAttribute("aria-invalid", Boolean(key.get()));
  byId("key").focus();
}
