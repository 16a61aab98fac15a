// Takes: record, grab the last bars, hear and download what was kept.

import { button, el, menu } from "./dom.js";

const START = "/ghost/record/start";
const GRABS = [1, 2, 4, 8];
const SHOWN = 30;

export function takes(connection, place, tell) {
  let recording = false;
  let asked = false;
  let began = 0;
  const record = button("● record", () => (recording ? stop() : start()), { className: "record" });
  const grabs = el("div.grabs", { role: "group", "aria-label": "Keep the last bars" },
    el("span", { textContent: "grab" }),
    ...GRABS.map((bars) => button(String(bars), () => grab(bars), {
      label: `Keep the last ${bars === 1 ? "bar" : `${bars} bars`}`,
    })),
    el("span", { textContent: "bars" })); // prettier-ignore
  const format = menu("Format of recordings", (name) => {
    connection.set("/ghost/record/format", name);
  });
  const list = el("ul.take-list");
  const audio = el("audio", { controls: true, preload: "none", "aria-label": "player" });
  const playing = el("p.now-playing");
  const player = el("div.player", { hidden: true }, playing, audio);
  place.append(el("div.row-of", {}, record, format), grabs, player, list);

  connection.on("/ghost/record/format", (value) => {
    format.fill([["float", "32-bit float"], ["24", "24-bit"]]);
    format.set(value);
  });

  function show(on) {
    recording = on;
    began = Date.now();
    record.classList.toggle("lit", on);
    record.setAttribute("aria-pressed", String(on));
    tick();
  }
  function tick() {
    const seconds = Math.floor((Date.now() - began) / 1000);
    record.textContent = recording
      ? `■ stop ${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`
      : "● record";
  }
  window.setInterval(() => recording && tick(), 500);

  async function start() {
    if (asked) return;
    asked = true;
    try {
      await connection.ask(START, `take-${stamp()}.wav`);
      show(true);
    } catch (error) {
      // Somebody else records: it can be stopped from here.
      if (/is being recorded/.test(error.message)) show(true);
    } finally {
      asked = false;
    }
  }
  connection.on("/fail", (command) => {
    if (command !== START || !recording) return;
    // Nobody asks while it runs: it has ended by itself.
    show(false);
    refresh();
  });
  async function stop() {
    try {
      const [path] = await connection.ask("/ghost/record/stop");
      tell(`kept ${path}`);
    } catch {
      // It had ended by itself, which is told.
    }
    show(false);
    refresh();
  }
  async function grab(bars) {
    try {
      const [path] = await connection.ask("/ghost/record/grab", bars);
      tell(`kept ${path}`);
    } catch {
      return;
    }
    refresh();
  }

  async function refresh() {
    let found = [];
    try {
      const answer = await fetch("/recordings/", { headers: { Accept: "application/json" } });
      found = (await answer.json()).recordings;
    } catch {
      return; // the connection is lost, which is told
    }
    const rows = found.slice(0, SHOWN).map(({ name, url, bytes, modified }) => {
      const when = new Date(modified * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      const hear = button("▶", () => {
        audio.src = url;
        playing.textContent = name;
        player.hidden = false;
        audio.play().catch(() => {}); // it has a button of its own
      }, { label: `Hear ${name}`, className: "small" }); // prettier-ignore
      const load = el("a.small", { href: url, download: name.split("/").at(-1), textContent: "↓", title: "download", "aria-label": `Download ${name}` }); // prettier-ignore
      return el("li", {}, hear, el("span.take-name", { textContent: name.replace(/\.wav$/, ""), title: name }),
        el("span.dim", { textContent: `${when} · ${size(bytes)}` }), load); // prettier-ignore
    });
    if (!rows.length) rows.push(el("li.empty", { textContent: "Nothing recorded yet." }));
    list.replaceChildren(...rows);
  }
  connection.onState((online) => {
    if (!online) return;
    if (recording) show(false);
    refresh();
  });
}

function stamp() {
  const now = new Date();
  const two = (value) => String(value).padStart(2, "0");
  const day = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  return `${day}-${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}
