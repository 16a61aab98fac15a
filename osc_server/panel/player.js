// Blocks of the monitor as one even stream: a ring, and a rate that keeps it filled as it should be.
// An AudioWorklet loads this file as its processor; listen.js imports it where there is none.

const SECONDS = 2; // that the ring holds
const AHEAD_SECONDS = 0.15;
const MOST_SECONDS = 0.5; // ahead; what is more is left out
const PULL = 0.02; // how much faster or slower it may play to come back there
const FADE_SECONDS = 0.005;

/** The stream at `samplerate` Hz, whatever the rate of the blocks is; it fades wherever it breaks. */
export class Stream {
  #samplerate;
  #blockRate = 0;
  #frames = 0;
  #ring = new Float32Array(0);
  #written = 0;
  #place = 0;
  #level = 0;
  #playing = false;
  #skipping = false;

  constructor(samplerate) {
    this.#samplerate = samplerate;
  }

  /** Takes a block of interleaved stereo. */
  take(samples, blockRate) {
    if (blockRate !== this.#blockRate) {
      this.#blockRate = blockRate;
      this.#frames = SECONDS * blockRate;
      this.#ring = new Float32Array(2 * this.#frames);
      this.#written = this.#place = this.#level = 0;
      this.#playing = this.#skipping = false;
    }
    for (let at = 0; at < samples.length; at += 2) {
      const to = 2 * (this.#written++ % this.#frames);
      this.#ring[to] = samples[at];
      this.#ring[to + 1] = samples[at + 1];
    }
    const ahead = this.#written - this.#place;
    this.#skipping ||= this.#playing && ahead > MOST_SECONDS * blockRate;
    if (ahead > this.#frames - blockRate / 2) this.#skip(); // nobody reads
  }

  /** Writes the next samples into two arrays of zeros, which stay where there is nothing. */
  read(left, right) {
    const wanted = AHEAD_SECONDS * this.#blockRate;
    if (!this.#playing) {
      if (!wanted || this.#written - this.#place < wanted) return;
      this.#skip();
      this.#playing = true;
    }
    const pull = Math.max(-1, Math.min(1, (this.#written - this.#place) / wanted - 1));
    const step = (this.#blockRate / this.#samplerate) * (1 + PULL * pull * Math.abs(pull));
    const fade = 1 / (FADE_SECONDS * this.#samplerate);
    const last = (1.05 * step) / fade + 2; // so much is needed to fade out
    for (let at = 0; at < left.length; at++) {
      const ebbs = this.#skipping || this.#written - this.#place < last;
      this.#level = Math.max(0, Math.min(1, this.#level + (ebbs ? -fade : fade)));
      if (ebbs && this.#level === 0) {
        this.#playing = this.#skipping;
        this.#skip();
        if (!this.#playing) return; // run dry: silence until there is enough again
      }
      const whole = Math.floor(this.#place);
      const part = this.#place - whole;
      const a = 2 * (whole % this.#frames);
      const b = 2 * ((whole + 1) % this.#frames);
      left[at] = this.#level * (this.#ring[a] * (1 - part) + this.#ring[b] * part);
      right[at] = this.#level * (this.#ring[a + 1] * (1 - part) + this.#ring[b + 1] * part);
      this.#place += step;
    }
  }

  /** Goes to where it is as far ahead as it should be; run dry, it forgets what is left. */
  #skip() {
    const ahead = AHEAD_SECONDS * this.#blockRate;
    const dry = this.#written - this.#place < ahead;
    this.#place = dry ? this.#written : this.#written - ahead;
    this.#skipping = false;
    this.#level = 0;
  }
}

if (globalThis.AudioWorkletProcessor) {
  class Player extends AudioWorkletProcessor {
    #stream = new Stream(sampleRate);

    constructor() {
      super();
      this.port.onmessage = ({ data }) => this.#stream.take(data.samples, data.samplerate);
    }

    process(_, [[left, right]]) {
      this.#stream.read(left, right);
      return true;
    }
  }
  registerProcessor("ghostnote-player", Player);
}
