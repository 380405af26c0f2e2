// Lines above the results: what went wrong, what to know.

import { $, icon, make } from "./dom.js";

/** Take all lines away, or those of one kind. */
export function clear(kind) {
  for (const banner of [...$("banners").children]) if (!kind || banner.classList.contains(kind)) banner.remove();
}

/** Show a line: `error` (told at once), `weak` (no good match) or `note`; with buttons, if any. */
export function tell(kind, title, detail = "", ...buttons) {
  const text = make("p", {}, title && make("strong", {}, sentence(title)), title && " ", sentence(detail));
  const role = kind === "error" ? "alert" : "status";
  const drawing = kind === "note" ? null : icon("alert");
  $("banners").append(make("div", { className: `banner ${kind}`, role }, drawing, text, ...buttons));
}

/** Show what went wrong last, and nothing that did before. */
export function tellError(title, detail, ...buttons) {
  clear("error");
  tell("error", title, detail, ...buttons);
}

/** What the server and the searcher say begins with a small letter; on a page a line is a sentence. */
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export const button = (text, onclick) => make("button", { type: "button", className: "tool", onclick }, text);
