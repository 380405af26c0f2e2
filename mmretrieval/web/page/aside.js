// The report of what could not be used.

import { setAside } from "./api.js";
import { $, count, day, make, span } from "./dom.js";

const SHOWN = 500;

function row(entry) {
  const part = entry.start === null || entry.end === null ? "" : span(entry.start, entry.end);
  const facts = [entry.folder, part && `only ${part}`, entry.when && day(entry.when)].filter(Boolean).join(" · ");
  return make("li", {}, make("strong", {}, entry.name), make("span", {}, entry.reason), make("small", {}, facts));
}

export class Aside {
  constructor() {
    this.entries = [];
    $("aside-find").addEventListener("input", () => this.#show());
  }

  async open() {
    $("aside-find").value = "";
    $("aside-list").replaceChildren();
    $("aside-count").textContent = "…";
    $("aside").showModal();
    try {
      this.entries = await setAside();
      this.#show();
    } catch (error) {
      this.entries = [];
      $("aside-count").textContent = error.message;
    }
  }

  #show() {
    const words = $("aside-find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = this.entries.filter((entry) => {
      const text = `${entry.folder}/${entry.name} ${entry.reason}`.toLowerCase();
      return words.every((word) => text.includes(word));
    });
    $("aside-list").replaceChildren(...found.slice(0, SHOWN).map(row));
    const all = count(this.entries.length, "entry", "entries");
    const some = words.length ? `${found.length.toLocaleString()} of ${all}` : all;
    $("aside-count").textContent = found.length > SHOWN ? `${some}, the first ${SHOWN} shown: find others by name` : some;
  }
}
