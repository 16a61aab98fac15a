// The sound of the master as it comes from /monitor: blocks of interleaved stereo.

const RETRY_MS = 3_000;

export class Monitor {
  samplerate = 0;
  #listeners = new Set();
  #troubles = new Set();
  #socket = null;
  #wanted = false;
  #retry = 0;

  /** Calls `listener(samples, samplerate)` with each block, a Float32Array; returns what ends it. */
  on(listener) {
    this.#listeners.add(listener);
    this.#keep();
    return () => {
      this.#listeners.delete(listener);
      this.#keep();
    };
  }

  /** Calls `listener(text)` when there is no sound to be had, with "" when there is again. */
  onTrouble(listener) {
    this.#troubles.add(listener);
  }

  /** Says whether the server can be reached at all. */
  want(wanted) {
    this.#wanted = wanted;
    this.#keep();
  }

  #keep() {
    const needed = this.#wanted && this.#listeners.size > 0;
    if (needed && !this.#socket) this.#open();
    if (!needed && this.#socket) {
      this.#socket.onclose = null;
      this.#socket.close();
      this.#socket = null;
    }
  }

  #open() {
    window.clearTimeout(this.#retry);
    const { protocol, host } = window.location;
    const scheme = protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${host}/monitor?format=int16`);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => this.#received(data);
    socket.onclose = () => {
      this.#socket = null;
      this.#tell("no sound from the server: perhaps too many are listening");
      this.#retry = window.setTimeout(() => this.#keep(), RETRY_MS);
    };
    this.#socket = socket;
  }

  #received(data) {
    if (typeof data === "string") {
      this.samplerate = JSON.parse(data).samplerate ?? this.samplerate;
      this.#tell("");
      return;
    }
    const whole = new Int16Array(data); // little-endian, as every browser's machine is
    const samples = Float32Array.from(whole, (sample) => sample / 32767);
    for (const listener of this.#listeners) listener(samples, this.samplerate);
  }

  #tell(text) {
    for (const listener of this.#troubles) listener(text);
  }
}
