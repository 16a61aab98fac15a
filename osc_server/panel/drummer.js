// The drummer of the voice that is shown: what it is asked for, and whether it plays.

import { bar, button, el, menu, showPercent, toggle } from "./dom.js";
import { Bindings } from "./selection.js";

const MOST_SEED = 1_000_000;
const ANY = "any";

export function drummer(connection, selection, place) {
  const bindings = new Bindings(connection);
  const address = (last) => `/ghost/voice/${selection.voice}/drummer/${last}`;
  const set = (last) => (value) => connection.set(address(last), value);
  let styles = [];

  const playing = toggle("♪ play", (on) => {
    playing.set(on);
    connection.send(address(on ? "start" : "stop"));
  }, { label: "Let the drummer play while the transport runs", className: "go" }); // prettier-ignore
  const style = menu("Style of the drummer", set("style"));
  const low = { low: 0, high: 1, step: 0.01, show: showPercent };
  const bars = {
    density: bar("density", { ...low, usual: 0.5, onchange: set("density") }),
    swing: bar("swing", { ...low, usual: 0, onchange: set("swing") }),
    humanise: bar("humanise", { ...low, high: 2, usual: 1, onchange: set("humanise") }),
    fill: bar("fill", {
      low: 0, high: 32, step: 1, usual: 8, curve: 2, onchange: set("fill"),
      show: (value) => (value === 0 ? "none" : `every ${value}`),
    }), // prettier-ignore
  };
  bars.density.title = "the share of people's bars that are sparser";
  bars.swing.title = "how late every second sixteenth is, besides the style's own feel";
  bars.humanise.title = "0 %: on the grid; 100 %: as people play";
  bars.fill.title = "every how many bars a fill is played, as the last of them";
  const dice = button("⚄", () => {
    connection.set(address("seed"), Math.floor(Math.random() * MOST_SEED));
  }, { label: "Let the drummer play otherwise", className: "dice" }); // prettier-ignore
  place.append(el("div.drummer", {}, playing, style, dice, ...Object.values(bars)));

  /** Shows a style, which may be a mixture that a client has asked for. */
  function show(value) {
    style.fill(styles.includes(value) ? styles : [...styles, value]);
    style.set(value);
  }

  selection.onChange((voice) => {
    bindings.clear();
    place.classList.toggle("empty", !voice);
    const root = `/ghost/voice/${voice}/drummer`;
    bindings.on(`${root}/playing`, playing.set);
    bindings.on(`${root}/style`, show);
    for (const [last, one] of Object.entries(bars)) {
      bindings.on(`${root}/${last}`, (value) => one.set(value));
    }
    bindings.on(`${root}/seed`, (value) => (dice.title = `seed ${value}`));
  });

  connection.onState(async (online) => {
    if (!online) return;
    try {
      styles = [ANY, ...(await connection.ask("/ghost/drummer/styles"))];
      show(connection.value(address("style"), ANY));
    } catch {
      // Not connected any more; it is asked again when it is.
    }
  });
}
