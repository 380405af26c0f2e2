// The microphone: asks for it, records up to a limit, shows that it hears.

const TYPES = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"];

const REFUSALS = {
  NotAllowedError: "The microphone is not allowed here: allow it in the browser's settings for this page, or send a recording.",
  NotFoundError: "No microphone was found: connect one, or send a recording.",
  NotReadableError: "The microphone is in use by something else: close that, or send a recording.",
};

/** Say why nothing can be recorded here, or return null. */
export function whyNot() {
  if (!window.isSecureContext)
    return "Browsers allow the microphone only on https or on localhost, and this page is on neither. Send a recording instead: the button beside it takes audio files.";
  if (!navigator.mediaDevices?.getUserMedia || !window.MediaRecorder)
    return "This browser cannot record. Send a recording instead: the button beside it takes audio files.";
  return null;
}

export class Recorder {
  /** `longest` in seconds; `show(seconds, levels)` is called while it records, `done(blob)` at its end. */
  constructor(longest, show, done) {
    Object.assign(this, { longest, show, done, levels: [], cancelled: false });
  }

  /** Start; throws an Error with a line for the person. */
  async start() {
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    } catch (error) {
      throw new Error(REFUSALS[error.name] ?? `The microphone cannot be used (${error.message}): send a recording.`);
    }
    if (this.cancelled) return this.#release();
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const parts = [];
    this.recorder = new MediaRecorder(this.stream, { mimeType });
    this.recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    this.recorder.addEventListener("stop", () => {
      const seconds = (performance.now() - this.began) / 1000;
      this.#release();
      if (!this.cancelled) this.done(new Blob(parts, { type: this.recorder.mimeType }), seconds);
    });
    this.recorder.start();
    this.began = performance.now();
    this.#listen();
  }

  stop() {
    if (this.recorder?.state === "recording") this.recorder.stop();
  }

  cancel() {
    this.cancelled = true;
    this.stop();
  }

  #listen() {
    this.context = new AudioContext();
    const analyser = this.context.createAnalyser();
    analyser.fftSize = 1024;
    this.context.createMediaStreamSource(this.stream).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    this.timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const loudest = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
      this.levels.push(Math.min(1, loudest));
      const seconds = (performance.now() - this.began) / 1000;
      this.show(seconds, this.levels);
      // a page in the background is called once a second: what comes late is still taken
      if (seconds >= this.longest) this.stop();
    }, 60);
  }

  #release() {
    clearInterval(this.timer);
    this.context?.close();
    this.stream.getTracks().forEach((track) => track.stop());
  }
}

/** Draw loudness as bars, the newest at the right. */
export function drawLevels(canvas, levels) {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== width * scale) [canvas.width, canvas.height] = [width * scale, height * scale];
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.fillStyle = getComputedStyle(canvas).color;
  const most = Math.floor(width / 5);
  levels.slice(-most).forEach((level, place, shown) => {
    const tall = Math.max(2, Math.sqrt(level) * height);
    context.fillRect(width - (shown.length - place) * 5, (height - tall) / 2, 3, tall);
  });
}
