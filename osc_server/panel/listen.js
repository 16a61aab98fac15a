// "Listen here": the master's sound in this browser, for a server without a sound card.

import { toggle } from "./dom.js";
import { Stream } from "./player.js";

const CHUNK = 1024; // frames of one buffer
const LEAD_SECONDS = 0.1; // that buffers are planned before they sound
const LATE_SECONDS = 0.02; // later than this none can be planned
const EDGE_SECONDS = 0.005;
const RINGS_OUT_MS = 400;

/** `.on` of what it returns tells whether somebody listens. */
export function listen(monitor, place, tell) {
  let context = null;
  let player = null; // a promise of one
  let on = false;
  let end = null;

  async function start() {
    context ??= new AudioContext({ latencyHint: "interactive" });
    player ??= playerOf(context);
    await context.resume();
    const ready = await player;
    // Meanwhile it may have been pressed again, and more than once.
    if (on) end ??= monitor.on((samples, samplerate) => ready.take(samples, samplerate));
  }
  function stop() {
    on = false;
    made.set(false);
    end?.();
    end = null;
    // What has come is played, and fades by itself.
    window.setTimeout(() => on || context?.suspend(), RINGS_OUT_MS);
  }

  const made = toggle("listen here", async (wanted) => {
    if (!wanted) {
      stop();
      return;
    }
    on = true;
    made.set(true);
    try {
      await start();
    } catch (error) {
      player = null;
      stop();
      tell(`no sound here: ${error.message}`, "fail");
    }
  }, { label: "Hear the master in this browser", className: "listen" }); // prettier-ignore
  place.append(made);
  return { get on() { return on; } }; // prettier-ignore
}

/** Returns what `.take(samples, samplerate)` plays; pages that are not secure have no worklets. */
async function playerOf(context) {
  if (!context.audioWorklet) return new BufferPlayer(context);
  await context.audioWorklet.addModule("/panel/player.js");
  const node = new AudioWorkletNode(context, "ghostnote-player", { outputChannelCount: [2] });
  node.connect(context.destination);
  return { take: (samples, samplerate) => node.port.postMessage({ samples, samplerate }) };
}

/**
 * Plays by buffers one after another, each planned a little before it sounds.
 *
 * The end of what is planned is faded out, and the fade is put off as more is planned: so there is
 * no click where the page was too busy to plan in time.
 */
export class BufferPlayer {
  #context;
  #stream;
  #out;
  #end = 0; // of what is planned: a frame of the context's clock
  #fade = 0; // when that begins to fade out

  constructor(context) {
    this.#context = context;
    this.#stream = new Stream(context.sampleRate);
    this.#out = context.createGain();
    this.#out.connect(context.destination);
    window.setInterval(() => this.#plan(), (LEAD_SECONDS * 1000) / 4);
  }

  take(samples, samplerate) {
    this.#stream.take(samples, samplerate);
    this.#plan();
  }

  #plan() {
    const { sampleRate: rate, currentTime: now } = this.#context;
    const { gain } = this.#out;
    const until = (now + LEAD_SECONDS) * rate;
    if (this.#end >= until) return;
    if (this.#fade < now + LATE_SECONDS) {
      this.#end = Math.max(this.#end, Math.ceil((now + LEAD_SECONDS / 2) * rate));
      gain.setValueAtTime(0, this.#end / rate);
      gain.linearRampToValueAtTime(1, this.#end / rate + EDGE_SECONDS);
    } else {
      gain.cancelScheduledValues(this.#fade);
    }
    for (; this.#end < until; this.#end += CHUNK) {
      const buffer = this.#context.createBuffer(2, CHUNK, rate);
      this.#stream.read(buffer.getChannelData(0), buffer.getChannelData(1));
      const source = this.#context.createBufferSource();
      source.buffer = buffer;
      source.connect(this.#out);
      source.start(this.#end / rate);
    }
    this.#fade = this.#end / rate - EDGE_SECONDS;
    gain.setValueAtTime(1, this.#fade);
    gain.linearRampToValueAtTime(0, this.#end / rate);
  }
}
