// Results as cards, and the arrow keys among them.

import { $, clock, count, icon, make, span } from "./dom.js";

/** Say in words how probable it is that a hit is right. */
export function judge(hit) {
  if (hit.confidence === null || hit.confidence === undefined) return { word: "", kind: "unknown" };
  if (hit.confidence >= 0.75) return { word: "very likely", kind: "likely" };
  if (hit.confidence >= 0.5) return { word: "likely", kind: "likely" };
  return hit.matched ? { word: "possible", kind: "possible" } : { word: "unlikely", kind: "unlikely" };
}

/** How full the bar of a hit is, 0–1: its confidence, or else its score beside the best. */
export function fullness(hit, best) {
  const value = hit.confidence ?? (best > 0 ? hit.score / best : 0);
  return Math.max(0, Math.min(1, value));
}

export const linkOf = (hit) => `#moment=${encodeURIComponent(hit.id)}`;

function picture(hit) {
  const image = make("img", { src: hit.thumbnail, alt: "", loading: "lazy", decoding: "async", width: 320, height: 180 });
  const frame = make("span", { className: "picture" }, image);
  image.addEventListener("load", () => frame.style.setProperty("--picture", `url("${hit.thumbnail}")`));
  image.addEventListener("error", () => {
    image.remove();
    frame.classList.add("missing");
    frame.prepend(icon("film"));
  });
  frame.append(make("span", { className: "span digits" }, span(hit.start, hit.end)));
  if (hit.duration > hit.end - hit.start + 0.5) {
    const mark = make("i");
    mark.style.setProperty("--from", hit.start / hit.duration);
    mark.style.setProperty("--to", Math.min(1, hit.end / hit.duration));
    frame.append(make("span", { className: "where", title: `of ${clock(hit.duration)}` }, mark));
  }
  return frame;
}

function card(hit, best, like) {
  const { word, kind } = judge(hit);
  const bar = make("span", { className: `bar ${kind}` });
  bar.style.setProperty("--full", fullness(hit, best));
  const score = hit.score.toFixed(2);
  const said = [`${hit.rank}. ${hit.name}`, span(hit.start, hit.end), word, `score ${score}`, hit.folder && `in ${hit.folder}`];
  const copies = hit.copies.length ? `+ ${count(hit.copies.length, "near-duplicate")}` : "";
  const link = make(
    "a",
    { className: "card-link", href: linkOf(hit), tabIndex: -1, "aria-label": said.filter(Boolean).join(", ") },
    picture(hit),
    make("span", { className: "name", title: hit.name }, hit.name),
    make("span", { className: "folder" }, [hit.folder, copies].filter(Boolean).join(" · ") || " "),
    make("span", { className: "score" }, bar, make("span", { className: "word" }, word), make("span", { className: "digits" }, score)),
  );
  const title = "More like this";
  const button = make("button", { className: "round over like", type: "button", tabIndex: -1, title, onclick: () => like(hit) }, icon("like"));
  button.setAttribute("aria-label", `${title}: ${hit.name}, ${span(hit.start, hit.end)}`);
  const item = make("li", { className: "card" }, link, button);
  item.dataset.id = hit.id;
  return item;
}

/** The grid: one stop of the Tab key, arrows inside. */
export class Hits {
  /** `like(hit)` is called for "more like this", `up()` where an arrow leaves the grid at its top. */
  constructor(like, up) {
    Object.assign(this, { list: $("hits"), like, up, hits: [], ids: new Set() });
    this.list.addEventListener("keydown", (event) => this.#key(event));
    this.list.addEventListener("focusin", (event) => this.#stop(event.target.closest(".card")));
  }

  clear() {
    this.hits = [];
    this.ids.clear();
    this.list.replaceChildren();
    this.list.classList.remove("waiting");
  }

  /** Show that hits are on their way, in the room they will take. */
  wait() {
    this.clear();
    this.list.classList.add("waiting");
    for (let number = 0; number < 8; number++)
      this.list.append(make("li", { className: "card ghost", "aria-hidden": "true" }, make("span", { className: "picture" }), make("span", { className: "name" }, " "), make("span", { className: "folder" }, " ")));
  }

  /** Add a page; a hit that is there already, because the collection has changed meanwhile, is left out. */
  add(hits) {
    const fresh = hits.filter((hit) => !this.ids.has(hit.id));
    const best = (this.hits[0] ?? fresh[0])?.score ?? 0;
    for (const hit of fresh) {
      this.ids.add(hit.id);
      this.hits.push(hit);
      this.list.append(card(hit, best, this.like));
    }
    if (!this.list.querySelector('.card-link[tabindex="0"]')) this.#stop(this.list.querySelector(".card"));
    return fresh.length;
  }

  find(id) {
    return this.hits.findIndex((hit) => hit.id === id || hit.moments.includes(id));
  }

  /** Focus the card of a hit; the first if none is named. */
  focus(id) {
    const cards = [...this.list.querySelectorAll(".card:not(.ghost)")];
    const found = id === undefined ? cards[0] : cards.find((item) => item.dataset.id === id);
    found?.querySelector(".card-link").focus();
  }

  #stop(item) {
    if (!item) return;
    for (const element of this.list.querySelectorAll('[tabindex="0"]')) element.tabIndex = -1;
    for (const element of item.querySelectorAll("a, button")) element.tabIndex = 0;
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const cards = [...this.list.querySelectorAll(".card:not(.ghost)")];
    const at = cards.indexOf(event.target.closest(".card"));
    if (at < 0) return;
    if (event.key.toLowerCase() === "l") {
      event.preventDefault();
      return this.like(this.hits[at]);
    }
    const across = cards.filter((item) => item.offsetTop === cards[0].offsetTop).length;
    const last = cards.length - 1;
    const to = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at - across,
      ArrowDown: Math.floor(at / across) < Math.floor(last / across) ? Math.min(at + across, last) : at,
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (event.key === "ArrowUp" && to < 0) return this.up();
    cards[Math.max(0, Math.min(last, to))].querySelector(".card-link").focus();
  }
}
