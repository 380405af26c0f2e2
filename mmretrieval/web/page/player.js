// The player: starts at the moment, and at its end repeats it, stops or goes on.

import { whatIsWrong } from "./api.js";
import { $, clock, count, day, make, memory, span } from "./dom.js";
import { judge, linkOf } from "./hits.js";

const ENDINGS = ["repeat", "stop", "go-on"];
const SLACK = 0.05;

export class Player {
  /** `step(by)` is called for another result, `like(hit)` for more like it, `close()` when it is to be closed. */
  constructor({ step, like, close }) {
    Object.assign(this, { step, like, dialog: $("player"), video: $("video"), hit: null });
    this.#listenToPerson(close);
    this.#listenToVideo();
    const remembered = memory.get("ending", ENDINGS[0]);
    this.ending = ENDINGS.includes(remembered) ? remembered : ENDINGS[0];
    for (const choice of this.dialog.querySelectorAll("[name=ending]")) {
      choice.checked = choice.value === this.ending;
      choice.addEventListener("change", () => memory.set("ending", (this.ending = choice.value)));
    }
  }

  /** Show a moment; `at` is its place among `known` results, or −1. */
  open(hit, at, known) {
    this.#place(at, known);
    if (this.hit?.id === hit.id) return;
    this.hit = hit;
    this.#describe(hit);
    this.#load(hit.playable ? hit.media : hit.clip, hit.playable);
    if (!this.dialog.open) this.dialog.showModal();
    // so that keys go to the player and not to its first button
    this.video.focus({ preventScroll: true });
  }

  shut() {
    if (!this.hit) return;
    this.hit = null;
    this.dialog.close();
    this.video.removeAttribute("src");
    this.video.load();
  }

  /** Say where the moment is among the results, `{ at, number, more }`. */
  #place(at, { number, more }) {
    $("place").textContent = at < 0 ? "" : `${at + 1} of ${number}${more ? "+" : ""}`;
    $("previous").disabled = at <= 0;
    $("next").disabled = at < 0 || (at === number - 1 && !more);
  }

  #describe(hit) {
    $("player-name").textContent = hit.name;
    const length = hit.duration ? ` of ${clock(hit.duration)}` : "";
    const when = hit.modified ? `changed ${day(hit.modified)}` : "";
    $("player-facts").textContent = [span(hit.start, hit.end) + length, hit.folder, when].filter(Boolean).join(" · ");
    const judged = [];
    if (hit.score !== undefined) {
      const { word } = judge(hit);
      if (word) judged.push(`${word} to be right (${Math.round(100 * hit.confidence)} %)`);
      judged.push(`score ${hit.score.toFixed(3)}`);
    }
    if (hit.copies.length) judged.push(`stands for ${count(hit.copies.length, "near-duplicate")}`);
    $("player-judged").textContent = judged.join(" · ");
    $("player-tags").replaceChildren(...hit.tags.map((tag) => make("li", {}, tag)));
    $("copy-text").textContent = "Copy link";
  }

  /** Play a file from the moment's start, or the moment alone. */
  #load(address, whole) {
    const { start, end, best } = this.hit;
    this.whole = whole;
    [this.start, this.end] = whole ? [start, end] : [0, best[1] - best[0]];
    this.inside = false;
    this.atEnd = false;
    $("player-problem").hidden = true;
    this.video.hidden = false;
    this.video.poster = this.hit.thumbnail;
    this.video.src = address;
    this.video.play().catch(() => {}); // without a click before it, the browser waits for one
    this.#track();
  }

  #listenToPerson(close) {
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      close();
    });
    // a browser does not ask twice before it closes
    this.dialog.addEventListener("close", () => this.hit && !this.dialog.open && close());
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && close());
    $("player-close").addEventListener("click", close);
    $("previous").addEventListener("click", () => this.step(-1));
    $("next").addEventListener("click", () => this.step(1));
    $("player-like").addEventListener("click", () => this.like(this.hit));
    $("copy").addEventListener("click", () => this.#copy());
    // before the video's own keys, which seek
    this.dialog.addEventListener("keydown", (event) => this.#key(event), true);
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.name === "ending") return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") this.step(event.key === "ArrowLeft" ? -1 : 1);
    else if (event.key.toLowerCase() === "l") this.like(this.hit);
    else if (event.key === " " && event.target.tagName !== "BUTTON") {
      if (this.video.paused) this.video.play().catch(() => {});
      else this.video.pause();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #listenToVideo() {
    const { video } = this;
    video.addEventListener("loadedmetadata", () => {
      if (this.start) video.currentTime = Math.min(this.start, video.duration || this.start);
      this.#track();
    });
    video.addEventListener("seeking", () => {
      this.inside = this.#within();
      this.#track();
    });
    video.addEventListener("play", () => {
      if (this.atEnd) this.#again();
      this.atEnd = false;
      requestAnimationFrame(() => this.#watch());
    });
    video.addEventListener("ended", () => this.hit && (this.inside || this.ending === "repeat") && this.#reachedEnd());
    video.addEventListener("error", () => this.hit && this.#failed());
  }

  #within() {
    return this.video.currentTime >= this.start - SLACK && this.video.currentTime < this.end - SLACK;
  }

  #watch() {
    const { video } = this;
    if (!this.hit || video.paused) return;
    if (this.#within()) this.inside = true;
    else if (this.inside && !video.seeking && video.currentTime >= this.end - SLACK) this.#reachedEnd();
    this.#track();
    requestAnimationFrame(() => this.#watch());
  }

  #reachedEnd() {
    this.inside = false; // whoever goes on beyond the end is let go
    if (this.ending === "repeat") this.#again();
    if (this.ending === "stop") {
      this.video.pause();
      // where the browser has its hands full this comes late, and another scene would be shown
      if (this.video.currentTime > this.end) this.video.currentTime = this.end - SLACK;
      this.atEnd = true;
    }
  }

  #again() {
    this.video.currentTime = this.start;
    this.video.play().catch(() => {});
  }

  #track() {
    const length = this.whole ? this.video.duration || this.hit?.duration : this.end;
    if (!length) return;
    $("track-moment").style.setProperty("--from", this.start / length);
    $("track-moment").style.setProperty("--to", Math.min(1, this.end / length));
    $("track-now").style.setProperty("--at", Math.min(1, this.video.currentTime / length));
  }

  /** A browser that does not play the file may play the moment as the server films it; or it says why not. */
  async #failed() {
    const { hit } = this;
    if (this.whole && (await whatIsWrong(hit.media)) === null) return this.hit === hit && this.#load(hit.clip, false);
    const wrong = await whatIsWrong(this.whole ? hit.media : hit.clip);
    if (this.hit !== hit) return;
    this.video.hidden = true;
    $("player-problem").hidden = false;
    $("player-problem").textContent = wrong?.message ?? "This browser does not play it.";
  }

  async #copy() {
    const address = `${location.origin}/${linkOf(this.hit)}`;
    try {
      await navigator.clipboard.writeText(address);
    } catch {
      // plain http, away from localhost: the old way
      const field = make("input", { value: address, readOnly: true, "aria-label": "Link" });
      $("copy").after(field);
      field.select();
      const copied = document.execCommand("copy");
      if (copied) field.remove();
      if (!copied) return;
    }
    $("copy-text").textContent = "Copied";
  }
}
