// The panel of filters, and the parts of a question as chips that can be taken away.

import { $, clock, icon, make } from "./dom.js";
import { FILTERS } from "./question.js";

const MANY_TAGS = 24;

const WORDS = {
  folder: (value) => `in ${value}`,
  after: (value) => `changed on or after ${value}`,
  before: (value) => `changed before ${value}`,
  min_seconds: (value) => `video of ${length(value)} or more`,
  max_seconds: (value) => `video of ${length(value)} or less`,
  path: (value) => `file ${value}`,
};

const length = (seconds) => (Number(seconds) < 60 ? `${Number(seconds)} s` : clock(Number(seconds)));

const field = (name) => $("filters").querySelector(`[name="${name}"]`);

export class Filters {
  /** `change(part)` is called with what a question is to have instead. */
  constructor(change) {
    this.change = change;
    this.tag = [];
    for (const name of FILTERS) field(name).addEventListener("change", () => this.#changed(name));
    $("show-filters").addEventListener("click", () => this.open($("filters").hidden));
  }

  open(open) {
    $("filters").hidden = !open;
    $("show-filters").setAttribute("aria-expanded", String(open));
    if (open) field("folder").focus();
  }

  /** Offer what the collection has. */
  offer(facts) {
    const folder = field("folder");
    folder.replaceChildren(make("option", { value: "" }, "All folders"));
    for (const { id, name } of facts.folders) folder.append(make("option", { value: id }, name));
    folder.closest("label").hidden = !facts.folders.length;
    for (const name of ["after", "before"]) {
      if (facts.earliest) field(name).min = facts.earliest;
    }
    const tags = $("tags");
    tags.hidden = !facts.tags.length;
    tags.replaceChildren();
    if (facts.tags.length > MANY_TAGS) {
      const find = make("input", { type: "search", placeholder: "Find a label", "aria-label": "Find a label" });
      find.addEventListener("input", () => this.#narrow(find.value));
      tags.append(find);
    }
    const all = make("div", { className: "all-tags" });
    for (const tag of facts.tags) {
      const box = make("input", { type: "checkbox", name: "tag", value: tag, onchange: () => this.#tagged() });
      all.append(make("label", { className: "tag" }, box, make("span", {}, tag)));
    }
    tags.append(all);
  }

  /** Show the filters of a question. */
  show(question) {
    for (const name of FILTERS) {
      const input = field(name);
      if (name === "folder" && question.folder && ![...input.options].some(({ value }) => value === question.folder))
        input.append(make("option", { value: question.folder }, question.folder));
      input.value = question[name];
    }
    for (const box of $("tags").querySelectorAll("[name=tag]")) box.checked = question.tag.includes(box.value);
    this.tag = question.tag;
    const number = FILTERS.filter((name) => question[name]).length + question.tag.length;
    $("show-filters").classList.toggle("used", number > 0);
    this.#chips(question);
  }

  #chips(question) {
    const chips = [];
    if (question.upload) chips.push(uploadChip(question.upload, this.change));
    if (question.like) chips.push(likeChip(question.like, () => this.change({ like: "" })));
    for (const name of FILTERS)
      if (question[name]) chips.push(chip(WORDS[name](question[name]), () => this.change({ [name]: "" })));
    for (const tag of question.tag)
      chips.push(chip(`labelled ${tag}`, () => this.change({ tag: question.tag.filter((other) => other !== tag) })));
    $("chips").replaceChildren(...chips);
  }

  #changed(name) {
    const input = field(name);
    if (!input.reportValidity()) return;
    this.change({ [name]: input.value.trim() });
  }

  #tagged() {
    const known = new Set([...$("tags").querySelectorAll("[name=tag]")].map(({ value }) => value));
    const kept = this.tag.filter((tag) => !known.has(tag));
    this.change({ tag: [...kept, ...[...$("tags").querySelectorAll(":checked")].map(({ value }) => value)] });
  }

  #narrow(text) {
    for (const label of $("tags").querySelectorAll(".tag"))
      label.hidden = !label.textContent.toLowerCase().includes(text.trim().toLowerCase());
  }
}

function chip(text, remove, ...before) {
  const button = make("button", { type: "button", className: "remove", onclick: remove, "aria-label": `Remove: ${text}` }, icon("close"));
  return make("li", { className: "chip" }, ...before, make("span", { className: "chip-text", title: text }, text), button);
}

function likeChip(id, remove) {
  const picture = make("img", { src: `/thumbnails/${encodeURIComponent(id)}.jpg`, alt: "", width: 36, height: 24 });
  picture.addEventListener("error", () => picture.remove());
  return chip("like this moment", remove, picture);
}

function uploadChip(upload, change) {
  const made = chip(`${upload.name}${upload.seconds ? ` · ${clock(upload.seconds)}` : ""}`, () => change({ upload: null }));
  made.classList.add("upload");
  if (upload.kind === "speech") made.prepend(playButton(upload));
  const act = (text, onclick) => make("button", { type: "button", className: "chip-act", onclick }, text);
  const extra = [];
  if (upload.both) {
    const other = upload.kind === "speech" ? "video" : "speech";
    extra.push(act(other === "speech" ? "use its sound" : "use its pictures", () => change({ upload: { ...upload, kind: other, key: undefined } })));
  }
  if (upload.kind === "speech") extra.push(act("ask again", () => change({})));
  made.lastChild.before(...extra);
  return made;
}

/** Play back what was recorded or sent. */
function playButton(upload) {
  let sound = null;
  const button = make("button", { type: "button", className: "play", "aria-label": "Listen to it" }, icon("play"));
  const stop = () => {
    if (!sound) return; // the end of a sound is a pause too
    URL.revokeObjectURL(sound.src);
    sound = null;
    button.replaceChildren(icon("play"));
    button.setAttribute("aria-label", "Listen to it");
  };
  button.addEventListener("click", () => {
    if (sound) return sound.pause();
    sound = new Audio(URL.createObjectURL(upload.blob));
    for (const name of ["ended", "pause", "error"]) sound.addEventListener(name, stop, { once: true });
    button.replaceChildren(icon("stop"));
    button.setAttribute("aria-label", "Stop listening");
    sound.play().catch(() => {});
  });
  return button;
}
