// Light and dark: as the system has it, until somebody chooses.

import { remembered, remember } from "./memory.js";
import { label } from "./texts.js";

const THEMES = ["auto", "light", "dark"];

export function setUpTheme(button) {
  let theme = THEMES.includes(remembered("theme")) ? remembered("theme") : "auto";
  const show = () => {
    document.documentElement.dataset.theme = theme;
    button.querySelector("use").setAttribute("href", `#i-${theme}`);
    label(button, `theme_${theme}`);
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    remember("theme", theme);
    show();
  });
  show();
}
