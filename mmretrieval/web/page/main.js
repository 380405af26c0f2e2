// The page: what is asked stands in its address, and everything else follows from that.

import * as api from "./api.js";
import { Aside } from "./aside.js";
import { offerColours } from "./colours.js";
import { $, count, isFree, isTyping } from "./dom.js";
import { Files } from "./files.js";
import { Filters } from "./filters.js";
import { Hits, linkOf } from "./hits.js";
import * as notices from "./notices.js";
import { Player } from "./player.js";
import * as questions from "./question.js";
import { offerPast, remember, showStart } from "./start.js";
import { Trouble } from "./trouble.js";
import { Voice } from "./voice.js";

const PAGE = 24;
const PATIENCE = 200; // milliseconds before the old results make room for the new

class Page {
  constructor() {
    this.facts = null;
    this.question = questions.read("", null);
    this.more = false;
    this.hits = new Hits((hit) => this.like(hit), () => $("text").focus());
    this.filters = new Filters((part) => this.ask(part));
    this.player = new Player({
      step: (by) => this.step(by),
      like: (hit) => this.like(hit),
      close: () => this.close(),
    });
    this.aside = new Aside();
    this.trouble = new Trouble(() => (this.facts ? null : this.meet()));
    this.voice = new Voice((upload) => this.askWith(upload), notices.tellError);
    this.files = new Files((upload) => this.askWith(upload), notices.tellError);
    this.listen();
    offerColours();
    offerPast();
  }

  async begin() {
    const meet = this.meet();
    this.follow(true);
    await meet;
  }

  // --- the collection

  /** Learn what is searched. */
  async meet() {
    try {
      this.facts = await api.collection();
    } catch (error) {
      return this.trouble.tell(error, () => this.goOn());
    }
    const { facts } = this;
    const can = (modality) => facts.modalities.includes(modality);
    $("collection").textContent = facts.name;
    $("title").textContent = `Search ${facts.name}`;
    $("facts").textContent = [count(facts.videos, "video"), count(facts.moments, "moment"), `model ${facts.model}`, `generation ${facts.generation}`].join(" · ");
    $("aside-link").hidden = !facts.set_aside;
    $("aside-link").textContent = `${facts.set_aside.toLocaleString()} set aside`;
    this.filters.offer(facts);
    this.filters.show(this.question);
    this.entitle();
    this.voice.longest = facts.limits.seconds;
    this.files.limit = facts.limits.upload_bytes;
    this.files.hears = can("speech");
    if (!can("speech")) this.voice.refuse("The model of this collection does not hear: ask in typed words.");
    if (!can("text")) {
      $("text").disabled = $("show-without").disabled = true;
      $("text").placeholder = "The model of this collection does not read: ask by voice";
    }
    if (!questions.isAsked(this.question)) this.showStart();
  }

  entitle() {
    document.title = [this.question.text, this.facts?.name ?? "Search videos"].filter(Boolean).join(" – ");
  }

  /** Do again what could not be done; what is being typed stays. */
  goOn() {
    return questions.isAsked(this.question) ? this.search() : this.followHash();
  }

  showStart() {
    if (this.facts) showStart(this.facts, (text) => this.ask({ text }));
  }

  // --- the question

  /** Ask the question with some of it changed; the address of the page says it afterwards. */
  ask(part) {
    const question = { ...this.question, lost: false, ...part };
    const { address, state } = questions.place(question);
    const same = address === location.pathname + location.search;
    history[same ? "replaceState" : "pushState"](state, "", address);
    this.player.shut();
    this.show(question);
    if (questions.isAsked(question)) remember(question.text);
  }

  /** Ask with a recording or a clip: instead of words that were asked already, together with new ones. */
  askWith(upload) {
    const text = $("text").value.trim();
    this.ask({ upload, like: "", text: text === this.question.text ? "" : text, without: $("without").value.trim() });
  }

  like(hit) {
    this.ask({ like: hit.id, text: "", without: "", upload: null });
    window.scrollTo({ top: 0 });
  }

  /** Do what the address says: after a load, a link, back and forward. */
  follow(first = false) {
    const question = questions.read(location.search, history.state);
    const same = questions.write(question).toString() === questions.write(this.question).toString();
    if (!first && same && history.state === null) {
      // a link inside the page: what was recorded still belongs to the question
      question.upload = this.question.upload;
      history.replaceState(questions.place(question).state, "");
    }
    if (first || !same || question.upload !== this.question.upload) this.show(question);
    this.followHash();
  }

  show(question) {
    this.question = question;
    $("text").value = question.text;
    $("without").value = question.without;
    this.openWithout(Boolean(question.without));
    this.filters.show(question);
    this.entitle();
    const asked = questions.isAsked(question);
    document.body.dataset.view = asked ? "results" : "start";
    $("start").hidden = asked;
    notices.clear();
    if (question.lost) notices.tell("note", "The recording is gone:", "it was never kept. Record it again.");
    if (asked) return this.search();
    this.giveUp();
    this.hits.clear();
    this.showMore(false);
    $("status").textContent = "";
    this.showStart();
  }

  // --- the answer

  async search() {
    const answer = await this.get(0);
    if (!answer) return;
    this.hits.clear();
    if (answer.hits.length && !answer.matched)
      notices.tell("weak", "No good match.", "These come closest, but none of them is likely to be what was asked for.");
    if (!answer.hits.length) this.showNothing(answer);
    else for (const note of answer.notes) notices.tell("note", "", note);
    this.append(answer);
    this.followHash();
  }

  async next() {
    const before = this.hits.hits.length;
    const hadFocus = document.activeElement === $("more"); // it is hidden, and has it no more, while the answer is made
    const answer = await this.get(this.offset);
    if (!answer) return;
    this.append(answer);
    if (hadFocus && isFree($("more"))) this.hits.focus(this.hits.hits[before]?.id);
  }

  /** Return a page of the answer; nothing if another question came between, or something went wrong, which is told. */
  async get(offset) {
    this.giveUp();
    const stop = (this.stop = new AbortController());
    const waiting = setTimeout(() => !offset && this.hits.wait(), PATIENCE);
    $("results").setAttribute("aria-busy", "true");
    $("more").disabled = true;
    try {
      const { question } = this;
      const answer = await api.search(questions.write(question), question.upload, { k: PAGE, offset }, stop.signal);
      notices.clear("error");
      return answer;
    } catch (error) {
      if (stop.signal.aborted) return null;
      if (!offset) {
        clearTimeout(waiting);
        this.hits.clear();
        this.showMore(false);
        $("status").textContent = "";
      }
      this.trouble.tell(error, () => (offset ? this.next() : this.search()));
      return null;
    } finally {
      clearTimeout(waiting);
      if (this.stop === stop) {
        $("results").setAttribute("aria-busy", "false");
        $("more").disabled = false;
      }
    }
  }

  /** Wait no longer for what was asked last. */
  giveUp() {
    this.stop?.abort();
    if (this.facts) this.trouble.over();
  }

  append(answer) {
    this.offset = answer.offset + answer.hits.length;
    this.hits.add(answer.hits);
    this.showMore(answer.more);
    const number = this.hits.hits.length;
    $("status").textContent = number ? `${answer.more ? "The best " : ""}${count(number, "moment")}${answer.more ? "" : ", that is all"}` : "";
  }

  showMore(more) {
    this.more = more;
    $("more").hidden = !more;
  }

  showNothing(answer) {
    const buttons = [];
    if (questions.isFiltered(this.question))
      buttons.push(notices.button("Remove all filters", () => this.ask(questions.unfiltered(this.question))));
    const why = buttons.length ? "Nothing passes these filters." : "Nothing is found.";
    notices.tell("weak", why, answer.notes.join(" "), ...buttons);
  }

  // --- a moment

  /** Open what the address points to: `#moment=ID`, `#set-aside`, or nothing. */
  async followHash() {
    const wanted = wantedMoment();
    if (location.hash === "#set-aside" && !$("aside").open) this.aside.open();
    if (location.hash !== "#set-aside" && $("aside").open) $("aside").close();
    if (!wanted) return this.leave();
    const at = this.hits.find(wanted);
    const known = { number: this.hits.hits.length, more: this.more };
    if (at >= 0) return this.player.open(this.hits.hits[at], at, known);
    if (this.player.hit?.id === wanted) return;
    try {
      const hit = await api.moment(wanted);
      if (this.hits.find(wanted) < 0 && wantedMoment() === wanted) this.player.open(hit, -1, known);
    } catch (error) {
      if (wantedMoment() === wanted) this.trouble.tell(error, () => this.followHash());
    }
  }

  open(hit) {
    history.pushState({ ...history.state, opened: true }, "", linkOf(hit));
    this.followHash();
  }

  async step(by) {
    const shown = this.player.hit;
    const at = this.hits.find(shown.id);
    if (at < 0 || at + by < 0) return;
    if (at + by >= this.hits.hits.length && this.more) await this.next();
    const hit = this.hits.hits[at + by];
    if (!hit || this.player.hit !== shown) return; // whoever went elsewhere meanwhile stays there
    history.replaceState(history.state, "", linkOf(hit));
    this.followHash();
  }

  /** Shut the player; the keys go on from the result that was seen last. */
  leave() {
    const last = this.player.hit?.id;
    this.player.shut();
    if (last) this.hits.focus(last);
  }

  /** Close what is open; the way back is the way it came. */
  close() {
    if (history.state?.opened) history.back();
    else {
      history.replaceState(history.state, "", location.pathname + location.search);
      this.followHash();
    }
  }

  // --- the person

  openWithout(open) {
    $("without-row").hidden = !open;
    $("show-without").setAttribute("aria-expanded", String(open));
  }

  listen() {
    $("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask({ text: $("text").value.trim(), without: $("without").value.trim() });
    });
    $("show-without").addEventListener("click", () => {
      this.openWithout($("without-row").hidden);
      if (!$("without-row").hidden) $("without").focus();
    });
    $("more").addEventListener("click", () => this.next());
    $("hits").addEventListener("click", (event) => {
      const link = event.target.closest(".card-link");
      if (!link || isSpecial(event)) return;
      event.preventDefault();
      this.open(this.hits.hits[this.hits.find(link.closest(".card").dataset.id)]);
    });
    document.querySelector(".brand").addEventListener("click", (event) => {
      if (isSpecial(event)) return;
      event.preventDefault();
      this.ask({ ...questions.read("", null) });
    });
    window.addEventListener("popstate", () => this.follow());
    this.listenToDialogs();
    document.addEventListener("keydown", (event) => this.key(event));
  }

  listenToDialogs() {
    $("keys-link").addEventListener("click", () => $("keys").showModal());
    for (const dialog of [$("aside"), $("keys")]) {
      dialog.addEventListener("click", (event) => (event.target === dialog || event.target.closest("[data-close]")) && dialog.close());
      dialog.addEventListener("close", () => location.hash === "#set-aside" && dialog === $("aside") && this.close());
    }
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || document.querySelector("dialog[open]")) return;
    if (event.key === "ArrowDown" && event.target === $("text") && this.hits.hits.length) {
      event.preventDefault();
      this.hits.focus();
    }
    if (isTyping(event.target)) return;
    if (event.key === "/") {
      event.preventDefault();
      $("text").select();
    }
    if (event.key === "?") $("keys").showModal();
  }
}

/** Whether a click asks for a new tab or the like. */
function isSpecial(event) {
  return event.ctrlKey || event.metaKey || event.shiftKey || event.button > 0;
}

function wantedMoment() {
  return new URLSearchParams(location.hash.slice(1)).get("moment");
}

new Page().begin();
