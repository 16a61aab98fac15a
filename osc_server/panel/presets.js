// Presets: save, load, delete, and a way between two of them.

import { bar, button, el, menu, showPercent } from "./dom.js";

export function presets(connection, place, tell) {
  const name = el("input", {
    type: "text", placeholder: "name", "aria-label": "Name of the preset", autocomplete: "off",
    spellcheck: false, maxLength: 80,
  }); // prettier-ignore
  const save = el("form.row-of", {}, name, button("save", () => {}, { type: "submit" }));
  save.addEventListener("submit", (event) => {
    event.preventDefault();
    if (name.value.trim()) act("save", name.value.trim());
  });
  const list = el("ul.preset-list");
  const from = menu("Morph from", () => {});
  const to = menu("Morph to", () => {});
  const way = bar("morph", {
    low: 0, high: 1, step: 0.01, show: showPercent,
    onchange: (x) => connection.later("/ghost/preset/morph", from.value, to.value, x),
  }); // prettier-ignore
  const morph = el("div.morph", { hidden: true }, el("div.row-of", {}, from, el("span", { textContent: "→" }), to), way);
  place.append(save, list, morph);

  async function act(verb, preset) {
    try {
      await connection.ask(`/ghost/preset/${verb}`, preset);
    } catch {
      return; // the reason is shown
    }
    tell({ save: "saved", load: "loaded", delete: "deleted" }[verb] + ` ${preset}`);
    if (verb !== "load") refresh();
  }

  async function refresh() {
    let names = [];
    try {
      names = await connection.ask("/ghost/preset/list");
    } catch {
      return;
    }
    const rows = names.map((preset) => el("li", {},
      button(preset, () => act("load", preset), { label: `Load ${preset}`, className: "preset" }),
      button("✕", () => act("delete", preset), { label: `Delete ${preset}`, className: "small danger" }))); // prettier-ignore
    if (!rows.length) rows.push(el("li.empty", { textContent: "Nothing saved yet." }));
    list.replaceChildren(...rows);
    const first = from.options.length === 0;
    from.fill(names);
    to.fill(names);
    if (first && names.length > 1) {
      from.set(names[0]);
      to.set(names[1]);
    }
    morph.hidden = names.length < 2;
  }
  connection.onState((online) => online && refresh());
}
