// Recordings and clips that are chosen, or dropped on the page.

import { $ } from "./dom.js";

const TYPES = {
  aac: "audio/aac", aif: "audio/aiff", aiff: "audio/aiff", avi: "video/x-msvideo", flac: "audio/flac", m4a: "audio/mp4",
  m4v: "video/mp4", mkv: "video/x-matroska", mov: "video/quicktime", mp3: "audio/mpeg", mp4: "video/mp4",
  mpeg: "video/mpeg", mpg: "video/mpeg", oga: "audio/ogg", ogg: "audio/ogg", opus: "audio/ogg", ts: "video/mp2t",
  wav: "audio/wav", webm: "video/webm", wmv: "video/x-ms-wmv",
};

/** The type of a file as the browser says, or as its name does; the server looks for itself. */
function typeOf(file) {
  return file.type || TYPES[file.name.split(".").at(-1).toLowerCase()] || "application/octet-stream";
}

export class Files {
  /** `done(upload)` is called with what was chosen, `failed(message)` where it cannot be sent. */
  constructor(done, failed) {
    Object.assign(this, { done, failed, limit: Infinity, hears: true });
    $("upload").addEventListener("click", () => $("file").click());
    $("file").addEventListener("change", () => {
      this.#take($("file").files);
      $("file").value = "";
    });
    this.#acceptDrops();
  }

  #take([file]) {
    if (!file) return;
    if (file.size > this.limit) {
      const size = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 1 : 0)} MB`;
      return this.failed(`At most ${size(this.limit)} are taken, and ${file.name} has ${size(file.size)}: send a shorter one.`);
    }
    const type = typeOf(file);
    const kind = type.startsWith("video/") ? "video" : "speech";
    this.done({ blob: file, kind, type, name: file.name, both: kind === "video" && this.hears });
  }

  #acceptDrops() {
    let inside = 0; // every element that is entered says so
    const over = (event) => event.dataTransfer?.types.includes("Files");
    const show = (shown) => ($("drop").hidden = !shown);
    window.addEventListener("dragenter", (event) => over(event) && show(++inside > 0));
    window.addEventListener("dragleave", (event) => over(event) && show(--inside > 0));
    window.addEventListener("dragover", (event) => over(event) && event.preventDefault());
    window.addEventListener("drop", (event) => {
      if (!over(event)) return;
      event.preventDefault();
      inside = 0;
      show(false);
      this.#take(event.dataTransfer.files);
    });
  }
}
