// The microphone button and what it shows.

import { $, clock, isFree } from "./dom.js";
import { drawLevels, Recorder, whyNot } from "./recorder.js";

export class Voice {
  /** `done(upload)` is called with a recording, `failed(message)` where there is none. */
  constructor(done, failed) {
    Object.assign(this, { done, failed, longest: 60, recorder: null });
    this.refuse(whyNot());
    $("mic").addEventListener("click", () => this.toggle());
    $("stop").addEventListener("click", () => this.recorder?.stop());
    $("cancel").addEventListener("click", () => this.cancel());
    $("recording").addEventListener("keydown", (event) => event.key === "Escape" && this.cancel());
  }

  /** Grey the button out and say why, or not. */
  refuse(reason) {
    this.reason = reason;
    $("mic").setAttribute("aria-disabled", String(Boolean(reason)));
    $("mic").title = reason ?? "Ask by voice";
    $("mic-reason").textContent = reason ?? "";
    $("mic-reason").hidden = !reason;
    if (reason) $("mic").setAttribute("aria-describedby", "mic-reason");
  }

  toggle() {
    if (this.reason) $("mic-reason").classList.add("asked"); // shown beside results too from now on
    else if (this.recorder) this.recorder.stop();
    else this.#record();
  }

  cancel() {
    this.recorder?.cancel();
    this.#leave();
  }

  async #record() {
    const show = (seconds, levels) => {
      $("recorded").textContent = `${clock(seconds)} / ${clock(this.longest)}`;
      drawLevels($("level"), levels);
    };
    const recorder = new Recorder(this.longest, show, (blob, seconds) => {
      this.#leave();
      this.done({ blob, kind: "speech", type: blob.type, name: "your recording", seconds });
    });
    this.#show(recorder);
    try {
      await recorder.start();
      if (this.recorder === recorder && isFree($("mic"))) $("stop").focus();
    } catch (error) {
      if (this.recorder !== recorder) return; // thrown away before it was refused
      this.#show(null);
      this.failed(error.message);
    }
  }

  /** Hide the recording; the focus goes back to the button, unless the person types somewhere by now. */
  #leave() {
    const free = isFree($("recording"));
    this.#show(null);
    if (free) $("mic").focus();
  }

  #show(recorder) {
    this.recorder = recorder;
    $("recording").hidden = !recorder;
    $("mic").classList.toggle("on", Boolean(recorder));
    $("mic").setAttribute("aria-label", recorder ? "Stop and search" : "Ask by voice");
    $("recorded").textContent = "0:00";
  }
}
