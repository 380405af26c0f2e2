// What stands there before anything is asked: facts of the collection, and questions made of nothing else.

import { $, clock, count, day, make, memory } from "./dom.js";

const MOST = 10;
const EXAMPLES = 6;

/** Keep a typed question, the newest first. */
export function remember(text) {
  if (!text) return;
  memory.set("history", [text, ...past().filter((other) => other !== text)].slice(0, MOST));
  offerPast();
}

export function past() {
  const kept = memory.get("history", []);
  return Array.isArray(kept) ? kept.filter((text) => typeof text === "string").slice(0, MOST) : [];
}

export function offerPast() {
  $("past").replaceChildren(...past().map((text) => make("option", { value: text })));
}

/** Labels of the collection, and the names of its folders, as people would type them. */
export function examples(facts) {
  const words = (name) => name.split("/").at(-1).replaceAll(/[_-]+/g, " ").trim();
  const said = [...facts.tags.map(words), ...facts.folders.map(({ name }) => words(name))];
  // numbers and the like say nothing about what is to be seen
  return [...new Set(said.filter((text) => /\p{L}{3}/u.test(text)))].slice(0, EXAMPLES);
}

function ways(facts) {
  const can = (modality) => facts.modalities.includes(modality);
  return [
    can("text") && "Describe what is to be seen, in a few words.",
    can("speech") && "Say it: press the microphone, or send a recording.",
    can("video") && "Drop a short clip here, to find what is like it.",
  ].filter(Boolean);
}

function inside(facts) {
  const days = facts.earliest && facts.latest ? [...new Set([day(facts.earliest), day(facts.latest)])].join(" – ") : "";
  const longest = facts.longest ? `the longest ${clock(facts.longest)}` : "";
  const parts = [count(facts.moments, "moment"), `in ${count(facts.videos, "video")}`].join(" ");
  return [parts, longest, days].filter(Boolean).join(" · ");
}

/** Show the page as it is before a question; `ask(text)` is called for one that is chosen. */
export function showStart(facts, ask) {
  const buttons = (texts) => texts.map((text) => make("li", {}, make("button", { type: "button", className: "tool", onclick: () => ask(text) }, text)));
  const parts = [make("p", { className: "inside" }, inside(facts))];
  if (!facts.moments) {
    const adding = "mmretrieval index add COLLECTION FOLDER";
    parts.push(make("p", { className: "lead" }, "Nothing is indexed yet. Add a folder of videos: ", make("code", {}, adding)));
    return $("start").replaceChildren(...parts);
  }
  parts.push(make("ul", { className: "ways" }, ...ways(facts).map((way) => make("li", {}, way))));
  const tried = facts.modalities.includes("text") ? examples(facts) : [];
  if (tried.length) parts.push(make("h2", {}, "From this collection's labels and folders"), make("ul", { className: "suggested" }, ...buttons(tried)));
  if (past().length) {
    const forget = () => {
      memory.set("history", []);
      offerPast();
      showStart(facts, ask);
    };
    const clear = make("button", { type: "button", className: "as-link", onclick: forget }, "forget them");
    parts.push(make("h2", {}, "Asked before ", clear), make("ul", { className: "suggested" }, ...buttons(past())));
  }
  $("start").replaceChildren(...parts);
}
