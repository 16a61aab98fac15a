// Voices: the list, the chips that choose one on a small screen, and the one that is shown.

import { bar, button, decibels, el, gainBar, hue, menu, meter, toggle } from "./dom.js";
import { Bindings } from "./selection.js";

const MOST_SEED = 1_000_000;
const STATES = ["idle", "playing", "holding", "starved"];

/** `pure(kit)` is called when a kit is chosen. */
export function voices(connection, selection, place, chips, tell, pure) {
  const list = el("ul.voice-list");
  const model = menu("Model of a new voice", () => {});
  const add = button("+ voice", async () => {
    add.disabled = true;
    try {
      const [voice] = await connection.ask("/ghost/voice/new", model.value);
      wanted = voice;
      if (connection.voices().includes(voice)) selection.choose(voice);
    } catch {
      // What the server says of it is shown.
    } finally {
      add.disabled = false;
    }
  }, { label: "Make one more voice" }); // prettier-ignore
  let wanted = 0;
  place.append(list, el("div.row-of", {}, model, add));
  const shown = voiceShown(connection, selection, tell, pure);
  place.append(shown.element);

  const rows = new Map();
  connection.onTree(async () => {
    const all = connection.voices();
    for (const [voice, row] of rows) {
      if (!all.includes(voice)) {
        row.end();
        rows.delete(voice);
      }
    }
    for (const voice of all) {
      if (!rows.has(voice)) rows.set(voice, voiceRow(connection, selection, voice));
    }
    list.replaceChildren(...all.map((voice) => rows.get(voice).element));
    chips.replaceChildren(...all.map((voice) => rows.get(voice).chip));
    if (wanted && all.includes(wanted)) {
      selection.choose(wanted);
      wanted = 0;
    }
    paintChosen();
  });
  function paintChosen() {
    for (const [voice, row] of rows) {
      for (const one of [row.chooser, row.chip]) {
        one.setAttribute("aria-pressed", String(voice === selection.voice));
      }
      row.element.classList.toggle("chosen", voice === selection.voice);
    }
    document.body.className = document.body.className.replace(/\bvoice-\d\b/g, "");
    document.body.classList.add(hue(Math.max(selection.voice, 1)));
  }
  selection.onChange(paintChosen);
  connection.on("/ghost/meter", (voice, peak, rms) => rows.get(voice)?.meter(peak, rms));

  async function askModels() {
    try {
      const names = await connection.ask("/ghost/model/list");
      model.fill(names);
      shown.models(names);
    } catch {
      // Not connected any more; it is asked again when it is.
    }
  }
  connection.onState((online) => online && askModels());
}

function voiceRow(connection, selection, voice) {
  const bindings = new Bindings(connection);
  const root = `/ghost/voice/${voice}`;
  const name = el("span.voice-name");
  const kit = el("span.voice-kit");
  const level = meter(`level of voice ${voice}`);
  const chooser = el("button.chooser", {
    type: "button", "aria-label": `Show voice ${voice}`, onclick: () => selection.choose(voice),
  }, el("b", { textContent: voice }), el("span.names", {}, kit, name)); // prettier-ignore
  const mute = toggle("M", (on) => connection.set(`${root}/mute`, on), { label: `Mute voice ${voice}`, className: "small mute" }); // prettier-ignore
  const solo = toggle("S", (on) => connection.set(`${root}/solo`, on), { label: `Solo voice ${voice}`, className: "small solo" }); // prettier-ignore
  const element = el(`li.${hue(voice)}`, {}, chooser, mute, solo, level);
  const chip = el(`button.chip.${hue(voice)}`, {
    type: "button", textContent: voice, "aria-label": `Voice ${voice}`,
    onclick: () => selection.choose(voice),
  }); // prettier-ignore
  bindings.on(`${root}/model`, (value) => (name.textContent = `model ${value}`));
  bindings.on(`${root}/kit`, (value) => (kit.textContent = value || "mix of kits"));
  bindings.on(`${root}/mute`, mute.set);
  bindings.on(`${root}/solo`, solo.set);
  bindings.on(`${root}/state`, (state) => {
    for (const one of [element, chip]) {
      one.classList.remove(...STATES);
      if (STATES.includes(state)) one.classList.add(state);
    }
    chooser.title = `voice ${voice}: ${state}`;
  });
  return {
    element, chip, chooser, end: () => bindings.clear(),
    meter(peak, rms) {
      level.set(peak, rms);
      chip.style.setProperty("--level", Math.max(0, decibels(rms) / 60 + 1));
    },
  }; // prettier-ignore
}

function voiceShown(connection, selection, tell, pure) {
  const bindings = new Bindings(connection);
  const address = (last) => `/ghost/voice/${selection.voice}/${last}`;
  const send = (last) => () => connection.send(address(last));
  const set = (last) => (value) => connection.set(address(last), value);

  const title = el("h3", { textContent: "Voice" });
  const state = el("output.state", { "aria-label": "state" });
  const play = button("▶ play", send("play"), { className: "go" });
  const stop = button("■ stop", send("stop"));
  const rewind = button("↺ rewind", send("rewind"), { label: "Return to the seed" });
  const hold = toggle("∞ hold", set("hold"), { label: "Repeat the last bar as a loop" });
  const free = button("✕", send("free"), { label: "Free this voice", className: "small danger" });

  const model = menu("Model", (name) => {
    connection.ask("/ghost/model/load", name, selection.voice).then(
      () => tell(`voice ${selection.voice} plays ${name}`),
      () => model.set(connection.value(address("model"))),
    );
  });
  const kit = menu("Kit", (name) => {
    if (!name) return;
    connection.set(address("kit"), name);
    pure(name);
  });
  const out = menu("Output pair", (pair) => connection.set(address("out"), Number(pair)));
  const gain = gainBar("gain", set("gain"));
  const pan = bar("pan", {
    low: -1, high: 1, step: 0.01, usual: 0, centre: 0, onchange: set("pan"),
    show: (value) => value === 0 ? "centre" : `${Math.abs(value * 100).toFixed(0)} ${value < 0 ? "L" : "R"}`,
  }); // prettier-ignore
  const temperature = bar("temperature", {
    low: 0.05, high: 4, step: 0.01, usual: 0.85, curve: 2, onchange: set("temperature"),
    show: (value) => value.toFixed(2),
  }); // prettier-ignore
  const topk = bar("top k", {
    low: 0, high: 256, step: 1, usual: 0, curve: 2, onchange: set("topk"),
    show: (value) => (value === 0 ? "all" : String(value)),
  }); // prettier-ignore
  const seed = el("input.seed", {
    type: "text", inputMode: "numeric", "aria-label": "Seed", autocomplete: "off", spellcheck: false,
  }); // prettier-ignore
  seed.addEventListener("change", () => setSeed(seed.value.trim()));
  const dice = button("⚄", () => setSeed(String(Math.floor(Math.random() * MOST_SEED))), {
    label: "Throw another seed", className: "dice",
  }); // prettier-ignore

  function setSeed(text) {
    if (/^\d{1,19}$/.test(text)) connection.set(address("seed"), BigInt(text));
    else seed.value = String(connection.value(address("seed"), 0));
  }

  selection.onChange((voice) => {
    bindings.clear();
    element.hidden = !voice;
    title.textContent = `Voice ${voice}`;
    const root = `/ghost/voice/${voice}`;
    const names = connection.choices(`${root}/kit`);
    kit.fill([["", names.length ? "mix of kits" : "no kits"], ...names]);
    kit.disabled = names.length === 0;
    bindings.on(`${root}/kit`, (value) => kit.set(value));
    bindings.on(`${root}/model`, (value) => model.set(value));
    bindings.on(`${root}/state`, (value) => {
      state.textContent = value;
      state.dataset.state = value;
    });
    const [low, high] = connection.range(`${root}/out`, 1, 32);
    out.fill(Array.from({ length: high - low + 1 }, (_, at) => [low + at, `out ${2 * at + 1}/${2 * at + 2}`]));
    bindings.on(`${root}/out`, (value) => out.set(value));
    bindings.on(`${root}/hold`, hold.set);
    bindings.on(`${root}/seed`, (value) => (seed.value = String(value)));
    for (const [last, one] of Object.entries({ gain, pan, temperature, topk })) {
      bindings.on(`${root}/${last}`, (value) => one.set(value));
    }
  });

  const element = el("div.voice-shown", { hidden: true },
    el("div.row-of", {}, title, state, free),
    el("div.quad", {}, play, stop, rewind, hold),
    el("div.fields", {},
      el("label.field", {}, el("span", { textContent: "model" }), model),
      el("label.field", {}, el("span", { textContent: "kit" }), kit)),
    temperature, topk, gain, pan,
    el("div.fields", {},
      el("label.field.grow", {}, el("span", { textContent: "seed" }), el("span.joined", {}, seed, dice)),
      el("label.field", {}, el("span", { textContent: "output" }), out))); // prettier-ignore
  return {
    element,
    models(names) {
      model.fill(names);
      model.set(connection.value(address("model")));
    },
  };
}
