// How the server is: asked once a second, told in figures.

import { el } from "./dom.js";

const SHOWN = [
  ["cpu", "of one core: mean, peak"],
  ["latency", "from message to device"],
  ["ring", "how full the ring before the device is"],
  ["xruns", "times that the sound had gaps"],
  ["late", "bundles that came too late"],
  ["dropped", "packets that were no OSC, or too many"],
];

export function status(connection, place) {
  const figures = {};
  const list = el("dl");
  for (const [name, title] of SHOWN) {
    figures[name] = el("dd", { textContent: "–" });
    list.append(el("div", { title }, el("dt", { textContent: name }), figures[name]));
  }
  const lamp = el("span.lamp", { role: "img" });
  place.append(lamp, list);
  connection.onState((online) => {
    lamp.classList.toggle("on", online);
    lamp.setAttribute("aria-label", online ? "connected" : "not connected");
    lamp.title = online ? "connected" : "not connected";
  });
  const gaps = { xruns: null, late: null, dropped: null };
  connection.on("/ghost/status.reply", (...reply) => {
    const [, , average, peak, xruns, late, dropped, , rate, latency, fill] = reply;
    figures.cpu.textContent = `${average.toFixed(0)} / ${peak.toFixed(0)} %`;
    figures.latency.textContent = `${latency.toFixed(1)} ms`;
    figures.latency.parentElement.title = `from message to device, at ${rate.toFixed(0)} Hz`;
    figures.ring.textContent = `${(fill * 100).toFixed(0)} %`;
    for (const [name, count] of Object.entries({ xruns, late, dropped })) {
      figures[name].textContent = String(count);
      const grew = gaps[name] !== null && count > gaps[name];
      figures[name].parentElement.classList.toggle("bad", grew);
      gaps[name] = count;
    }
  });
}
