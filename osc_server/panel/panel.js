// The panel: makes the parts and joins them. Everything goes through OSCQuery and OSC, so that
// anyone could write another; see docs/osc.md.

import { Connection } from "./connection.js";
import { button } from "./dom.js";
import { drummer } from "./drummer.js";
import { grid } from "./grid.js";
import { kits } from "./kits.js";
import { listen } from "./listen.js";
import { master } from "./master.js";
import { Monitor } from "./monitor.js";
import { notices } from "./notices.js";
import { pads } from "./pads.js";
import { presets } from "./presets.js";
import { Selection } from "./selection.js";
import { sound } from "./sound.js";
import { status } from "./status.js";
import { takes } from "./takes.js";
import { transport } from "./transport.js";
import { voices } from "./voices.js";

const VIEWS = { play: "Pads", steps: "Steps", kit: "Kit", voices: "Voices", sound: "Sound", takes: "Takes" };

const place = (id) => document.getElementById(id);
const connection = new Connection();
const selection = new Selection(connection);
const monitor = new Monitor();

const tell = notices(connection, place("notices"));
transport(connection, place("transport"));
status(connection, place("status"));
const board = pads(connection, selection, place("pads"));
grid(connection, selection, place("steps"), board.flash);
drummer(connection, selection, place("drummer"));
const mixer = kits(connection, selection, place("kits"));
voices(connection, selection, place("voices"), place("chips"), tell, mixer.pure);
master(connection, place("master"));
sound(monitor, place("sound"));
const ears = listen(monitor, place("sound").querySelector(".tools"), tell);
takes(connection, place("takes"), tell);
presets(connection, place("presets"), tell);

// On a small screen one part at a time is shown.
const tabs = Object.entries(VIEWS).map(([view, name]) => button(name, () => show(view)));
place("views").append(...tabs);
function show(view) {
  document.body.dataset.view = view;
  tabs.forEach((tab, at) => {
    tab.setAttribute("aria-pressed", String(Object.keys(VIEWS)[at] === view));
  });
  window.scrollTo(0, 0);
}
show("play");

// A button that was pressed by hand gives the keys back: space plays and stops.
document.addEventListener("click", (event) => {
  if (event.detail > 0) event.target.closest("button")?.blur();
});

// Pictures that nobody sees need no sound; ears do.
const watch = () => monitor.want(connection.online && (ears.on || !document.hidden));
document.addEventListener("visibilitychange", watch);
connection.onState((online) => {
  place("offline").hidden = online;
  document.body.classList.toggle("offline", !online);
  for (const id of ["main", "transport", "chips"]) place(id).inert = !online;
  watch();
});
connection.start();
