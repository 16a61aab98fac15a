// An AudioWorklet that plays blocks of the monitor: a ring, and a rate that keeps it half full.

const SECONDS = 2; // that the ring holds
const AHEAD_SECONDS = 0.15;
const PULL = 0.02; // how much faster or slower it may play to come back there

class Player extends AudioWorkletProcessor {
  constructor() {
    super();
    this.port.onmessage = ({ data }) => (data === "reset" ? this.reset() : this.take(data));
    this.samplerate = 48000;
    this.reset();
  }

  reset() {
    this.frames = SECONDS * this.samplerate;
    this.ring = new Float32Array(2 * this.frames);
    this.written = 0;
    this.place = 0;
    this.playing = false;
  }

  take({ samples, samplerate }) {
    if (samplerate !== this.samplerate) {
      this.samplerate = samplerate;
      this.reset();
    }
    for (let at = 0; at < samples.length; at += 2) {
      const to = 2 * (this.written++ % this.frames);
      this.ring[to] = samples[at];
      this.ring[to + 1] = samples[at + 1];
    }
    if (this.written - this.place > this.frames - this.samplerate / 4) {
      this.place = this.written - AHEAD_SECONDS * this.samplerate; // this tab was asleep
    }
  }

  process(_, [output]) {
    const [left, right] = output;
    const wanted = AHEAD_SECONDS * this.samplerate;
    const ahead = this.written - this.place;
    if (!this.playing && ahead < wanted) return true;
    this.playing = true;
    const pull = Math.max(-1, Math.min(1, ahead / wanted - 1));
    const step = (this.samplerate / sampleRate) * (1 + PULL * pull * Math.abs(pull));
    for (let at = 0; at < left.length; at++) {
      if (this.place + 2 > this.written) {
        this.playing = false; // run dry: silence until there is enough again
        break;
      }
      const whole = Math.floor(this.place);
      const part = this.place - whole;
      const a = 2 * (whole % this.frames);
      const b = 2 * ((whole + 1) % this.frames);
      left[at] = this.ring[a] * (1 - part) + this.ring[b] * part;
      right[at] = this.ring[a + 1] * (1 - part) + this.ring[b + 1] * part;
      this.place += step;
    }
    return true;
  }
}

registerProcessor("ghostnote-player", Player);
