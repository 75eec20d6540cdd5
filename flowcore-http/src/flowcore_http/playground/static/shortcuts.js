// Keys that work everywhere on the page. Each has a modifier, or is Esc, so none comes into typing.

import { byId, element } from "./elements.js";
import { say } from "./texts.js";

const isMac = /mac|iphone|ipad/i.test(navigator.platform);
export const MODIFIER = isMac ? "⌘" : "Ctrl";

export function setUpShortcuts({ run, stop, flows }) {
  const dialog = byId("shortcuts");
  const help = () => (dialog.open ? dialog.close() : dialog.showModal());
  const keys = [
    { keys: [MODIFIER, "Enter"], words: "shortcut_run", act: run },
    { keys: ["Esc"], words: "shortcut_stop", act: stop },
    { keys: [MODIFIER, "K"], words: "shortcut_flows", act: flows },
    { keys: [MODIFIER, "/"], words: "shortcut_help", act: help },
  ];
  for (const { keys: shown, words } of keys) {
    byId("keys").append(element("div", {}, say(element("dt"), words),
      element("dd", {}, ...shown.map((key) => element("kbd", { text: key })))));
  }
  document.querySelector(".run-key").textContent = `${MODIFIER} ↵`;
  byId("help").addEventListener("click", help);
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.altKey) return;
    const isCommand = isMac ? event.metaKey : event.ctrlKey;
    const wanted = keys.find(({ keys: [first, second] }) =>
      second ? isCommand && nameOf(event) === second : event.key === "Escape");
    if (!wanted || (dialog.open && wanted.act !== help)) return;
    if (wanted.act() !== false) event.preventDefault();
  });
}

const nameOf = ({ key }) => (key.length === 1 ? key.toUpperCase() : key);
