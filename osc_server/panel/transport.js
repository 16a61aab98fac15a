// Transport: play, stop, continue, the beat, tempo and tap, quantum, signature, source of time.

import { button, el, menu } from "./dom.js";

const QUANTA = [[0, "at once"], [0.25, "1/16"], [1, "1 beat"], [2, "2 beats"], [4, "4 beats"], [8, "8 beats"], [16, "16 beats"]]; // prettier-ignore
const FAST_TEMPO = 0.5; // bpm for each pixel that the number is dragged

export function transport(connection, place) {
  const play = button("▶", () => connection.send("/ghost/play"), { label: "Play from the first step (space)", className: "round go" }); // prettier-ignore
  const stop = button("■", () => connection.send("/ghost/stop"), { label: "Stop (space)", className: "round" }); // prettier-ignore
  const roll = button("❙▶", () => connection.send("/ghost/continue"), { label: "Continue where it stands", className: "round" }); // prettier-ignore
  const bar = el("output.where", { "aria-label": "bar and beat", textContent: "1.1" });
  const lamps = el("div.lamps", { "aria-hidden": "true" });

  connection.on("/ghost/rolling", (rolling) => {
    play.classList.toggle("on", rolling);
    play.setAttribute("aria-pressed", String(rolling));
    document.body.classList.toggle("rolling", rolling);
  });
  let beats = 4;
  let beat = 0;
  function paintBeat() {
    const whole = Math.floor(beat + 1e-6);
    bar.textContent = `${Math.floor(whole / beats) + 1}.${(whole % beats) + 1}`;
    [...lamps.children].forEach((lamp, at) => lamp.classList.toggle("on", at === whole % beats));
  }
  connection.on("/ghost/beat", (now) => {
    beat = now;
    paintBeat();
  });
  const signature = menu("Beats of a bar", (value) => {
    connection.set("/ghost/signature", Number(value));
  });
  connection.on("/ghost/signature", (value) => {
    beats = value;
    signature.set(value);
    lamps.replaceChildren(...Array.from({ length: beats }, () => el("i")));
    paintBeat();
  });

  const tap = el("button.tap", { type: "button", textContent: "tap", title: "Tap the tempo (T)" });
  tap.addEventListener("pointerdown", () => connection.send("/ghost/tap"));
  tap.addEventListener("click", (event) => event.detail === 0 && connection.send("/ghost/tap"));

  const quantum = menu("Changes wait for", (value) => {
    connection.set("/ghost/quantum", Number(value));
  });
  const source = menu("Source of time", (value) => connection.set("/ghost/sync/source", value));
  const error = el("output.error", { title: "how far the beat is from what its source says" });
  connection.on("/ghost/quantum", (value) => {
    const known = QUANTA.some(([beats]) => beats === value);
    quantum.fill(known ? QUANTA : [...QUANTA, [value, `${value} beats`]]);
    quantum.set(value);
  });
  connection.on("/ghost/sync/source", (value) => {
    source.set(value);
    if (value === "internal") error.textContent = "";
  });
  connection.on("/ghost/sync/error", (ms) => (error.textContent = `${ms.toFixed(1)} ms`));
  quantum.fill(QUANTA);
  connection.onTree(() => {
    const [low, high] = connection.range("/ghost/signature", 1, 16);
    signature.fill(Array.from({ length: high - low + 1 }, (_, at) => [at + low, `${at + low}/4`]));
    signature.set(connection.value("/ghost/signature", 4));
    source.fill(connection.choices("/ghost/sync/source"));
    source.set(connection.value("/ghost/sync/source", "internal"));
  });

  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input:not([type=range]), select, textarea, audio")) return;
    if (event.code === "Space" && !event.target.closest("button, a")) {
      event.preventDefault();
      connection.send(connection.value("/ghost/rolling") ? "/ghost/stop" : "/ghost/play");
    } else if (event.code === "KeyT") {
      connection.send("/ghost/tap");
    }
  });

  place.append(
    el("div.buttons", {}, play, stop, roll),
    el("div.beat", {}, bar, lamps),
    el("div.tempo", {}, tempoNumber(connection), tap),
    el("label.field", {}, el("span", { textContent: "quantum" }), quantum),
    el("label.field", {}, el("span", { textContent: "bar" }), signature),
    el("label.field", {}, el("span", { textContent: "sync" }), source, error),
  );
}

/** The tempo: typed, stepped by arrow keys (with shift by tenths), or dragged up and down. */
function tempoNumber(connection) {
  const number = el("input.number", {
    type: "text", inputMode: "decimal", "aria-label": "tempo in beats per minute", size: 6,
    autocomplete: "off", spellcheck: false, title: "Drag, type, or press the arrow keys",
  }); // prettier-ignore
  let tempo = 120;
  const paint = () => {
    if (document.activeElement !== number || !number.dataset.typing) number.value = tempo.toFixed(1);
  };
  const change = (value) => {
    if (!Number.isFinite(value)) return;
    const [low, high] = connection.range("/ghost/tempo", 10, 1000);
    delete number.dataset.typing;
    tempo = Math.min(Math.max(Math.round(value * 100) / 100, low), high);
    connection.set("/ghost/tempo", tempo);
    paint();
  };
  connection.on("/ghost/tempo", (value) => {
    tempo = value;
    paint();
  });
  number.addEventListener("input", () => (number.dataset.typing = "yes"));
  const finish = () => {
    if (number.dataset.typing) change(Number(number.value.replace(",", ".")));
    delete number.dataset.typing;
    paint();
  };
  number.addEventListener("blur", finish);
  number.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10 };
    if (event.key === "Enter") {
      finish();
      number.select();
    } else if (event.key in steps) {
      event.preventDefault();
      change(tempo + steps[event.key] * (event.shiftKey ? 0.1 : 1));
    }
  });
  let from = null;
  number.addEventListener("pointerdown", (event) => (from = { y: event.clientY, tempo }));
  number.addEventListener("pointermove", (event) => {
    if (!from || !(event.buttons & 1) || Math.abs(event.clientY - from.y) < 3) return;
    number.setPointerCapture(event.pointerId);
    change(Math.round(from.tempo + (from.y - event.clientY) * FAST_TEMPO));
  });
  number.addEventListener("pointerup", () => (from = null));
  number.addEventListener("pointercancel", () => (from = null));
  return el("label.number-of", {}, number, el("span", { textContent: "bpm" }));
}
