// Light, dark, or as the system is; remembered. theme.js applies it before the page is drawn.

import { $, icon, memory } from "./dom.js";

const THEMES = { auto: "as the system", light: "light", dark: "dark" };
const names = Object.keys(THEMES);

function show(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").replaceChildren(icon(theme));
  $("theme").title = `Colours: ${THEMES[theme]}`;
  $("theme").setAttribute("aria-label", $("theme").title);
}

export function offerColours() {
  let theme = memory.get("theme", "auto");
  if (!names.includes(theme)) theme = "auto";
  show(theme);
  $("theme").addEventListener("click", () => {
    theme = names[(names.indexOf(theme) + 1) % names.length];
    memory.set("theme", theme);
    show(theme);
  });
}
