// The step grid: roles by sixteenths of the voice that is shown, page by page.

import { bar, button, el, showPercent, strokes, toggle } from "./dom.js";
import { Bindings } from "./selection.js";

const MOST_STEPS = 64;
const STEPS_PER_BEAT = 4;
const OWN_MS = 400;
const NARROW = window.matchMedia("(max-width: 759px)");
const VELOCITIES = { o: 0.35, x: 0.75, X: 1 };
const CYCLE = [0, 0.75, 1, 0.35];

/** Returns the velocities that a pattern's text stands for. */
export function parseSteps(text) {
  return [...text].filter((letter) => letter !== "|")
    .map((letter) => VELOCITIES[letter] ?? (Number(letter) || 0) / 9); // prettier-ignore
}

/** Returns the velocity that comes after one, as clicks go round: rest, normal, accent, ghost. */
export function nextVelocity(velocity) {
  const at = CYCLE.findIndex((one) => Math.abs(one - velocity) < 0.01);
  return at < 0 ? 0 : CYCLE[(at + 1) % CYCLE.length];
}

export function grid(connection, selection, place, flash) {
  const bindings = new Bindings(connection);
  const pages = el("div.pages", { role: "group", "aria-label": "page of steps" });
  const clear = button("clear", () => clearAll(), { label: "Clear all steps of this voice" });
  const table = el("div.grid", { role: "grid", "aria-label": "steps" });
  // On a small screen the bars of the rows would be in the way.
  const fine = toggle("fine", (on) => {
    fine.set(on);
    table.classList.toggle("fine", on);
  }, { label: "Show length, swing and probability", className: "fine-switch" }); // prettier-ignore
  place.querySelector("h2").after(el("div.tools", {}, pages, fine, clear));
  const numbers = el("div.cells", { "aria-hidden": "true" });
  place.append(el("div.row.numbers", {}, el("span"), numbers), table);
  let rows = [];
  let page = 0;
  let width = 16;
  let played = -1;

  const address = (role, last = "") => `/ghost/pattern/${selection.voice}/${role}${last}`;

  function setStep(row, step, velocity) {
    if (row.steps[step] === velocity) return;
    // What the server tells of it for a while may be what quicker presses have overtaken.
    window.clearTimeout(row.own.get(step)?.timer);
    const timer = window.setTimeout(() => {
      row.own.delete(step);
      merge(row);
    }, OWN_MS);
    row.own.set(step, { velocity, timer });
    merge(row);
    connection.send(address(row.role, `/${step + 1}`), velocity);
    if (step >= row.length) connection.send("/ghost/get", address(row.role, "/length"));
    if (velocity > 0 && !connection.value("/ghost/rolling")) flash(row.role, velocity);
  }

  /** Shows the steps as told, but for those that have just been set here. */
  function merge(row) {
    row.steps = [...row.told];
    for (const [step, { velocity }] of row.own) row.steps[step] = velocity;
    paintRow(row);
  }

  function setLength(role, length) {
    connection.set(address(role, "/length"), length);
    if (length === 0) connection.assume(address(role), "");
  }

  function clearAll() {
    connection.send(`/ghost/pattern/${selection.voice}/clear`);
    for (const { role, own } of rows) {
      own.clear();
      connection.assume(address(role), "");
      connection.assume(address(role, "/length"), 0);
    }
  }

  function rowOf(role, at) {
    const row = { role, told: [], own: new Map(), steps: [], length: 0, cells: [] };
    row.cells = Array.from({ length: width }, (_, column) =>
      el("button.cell", { type: "button", role: "gridcell", tabIndex: at || column ? -1 : 0 }),
    );
    const steps = el("div.cells", { role: "presentation" }, ...row.cells);
    const low = { low: 0, high: 1, step: 0.01 };
    row.lengthBar = bar("len", {
      low: 0, high: MOST_STEPS, step: 1, show: (value) => String(value),
      onchange: (value) => setLength(role, value),
    }); // prettier-ignore
    row.swing = bar("swing", {
      ...low, usual: 0, show: showPercent,
      onchange: (value) => connection.set(address(role, "/swing"), value),
    }); // prettier-ignore
    row.chance = bar("prob", {
      ...low, usual: 1, show: showPercent,
      onchange: (value) => connection.set(address(role, "/probability"), value),
    }); // prettier-ignore
    for (const [one, name] of [[row.lengthBar, "length"], [row.swing, "swing"], [row.chance, "probability"]]) {
      one.querySelector("input").setAttribute("aria-label", `${role} ${name}`);
      one.title = { length: "how many steps are played", swing: "how late every second sixteenth is", probability: "how likely each step is played" }[name]; // prettier-ignore
    }
    row.element = el("div.row", { role: "row" },
      el("span.role", { role: "rowheader", textContent: role, title: role }), steps,
      el("div.row-bars", { role: "gridcell" }, row.lengthBar, row.swing, row.chance)); // prettier-ignore
    row.cells.forEach((cell, column) => {
      cell.dataset.role = role;
      cell.dataset.column = column;
    });
    bindings.on(address(role), (text) => {
      row.told = parseSteps(text);
      merge(row);
    });
    bindings.on(address(role, "/length"), (length) => {
      row.length = length;
      row.lengthBar.set(length);
      paintRow(row);
      paintPages();
    });
    bindings.on(address(role, "/swing"), (value) => row.swing.set(value));
    bindings.on(address(role, "/probability"), (value) => row.chance.set(value));
    return row;
  }

  function paintRow(row) {
    row.cells.forEach((cell, column) => {
      const step = page * width + column;
      const velocity = row.steps[step] ?? 0;
      cell.style.setProperty("--v", velocity);
      cell.classList.toggle("on", velocity > 0);
      cell.classList.toggle("quarter", step % (2 * STEPS_PER_BEAT) < STEPS_PER_BEAT);
      cell.classList.toggle("unplayed", step >= row.length);
      const told = velocity ? `velocity ${velocity.toFixed(2)}` : "rest";
      cell.setAttribute("aria-label", `${row.role}, step ${step + 1}, ${told}`);
    });
  }

  function paintNumbers() {
    numbers.parentElement.hidden = rows.length === 0;
    numbers.replaceChildren(
      ...Array.from({ length: width }, (_, column) => {
        const step = page * width + column;
        const number = el("span", { textContent: step + 1 });
        number.classList.toggle("beat-line", step % STEPS_PER_BEAT === 0);
        return number;
      }),
    );
  }

  function paintPages() {
    const longest = Math.max(0, ...rows.map((row) => Math.max(row.length, row.steps.length)));
    const used = Math.ceil(longest / width);
    const all = MOST_STEPS / width;
    const wanted = `${page} ${used} ${all}`;
    if (pages.dataset.shown === wanted) return;
    pages.dataset.shown = wanted;
    pages.replaceChildren(
      ...Array.from({ length: all }, (_, at) => {
        const label = `steps ${at * width + 1} to ${(at + 1) * width}`;
        const one = button(String(at + 1), () => turn(at), { label });
        one.classList.toggle("used", at < used);
        one.setAttribute("aria-pressed", String(at === page));
        return one;
      }),
    );
  }

  function turn(to) {
    page = to;
    rows.forEach(paintRow);
    paintNumbers();
    paintPages();
    paintPlayed(played);
  }

  /** Lights the column of each row that is being played; roles of other lengths go their own way. */
  function paintPlayed(sixteenth) {
    for (const row of rows) {
      const step = sixteenth >= 0 && row.length > 0 ? sixteenth % row.length : -1;
      const column = Math.floor(step / width) === page ? step % width : -1;
      if (row.lit === column) continue;
      row.cells[row.lit]?.classList.remove("now");
      row.cells[column]?.classList.add("now");
      row.lit = column;
    }
    // The page that is played: the longest row's, as the others come round sooner.
    const longest = Math.max(0, ...rows.map((row) => row.length));
    const now = sixteenth >= 0 && longest > 0 ? Math.floor((sixteenth % longest) / width) : -1;
    [...pages.children].forEach((one, at) => one.classList.toggle("now", at === now));
  }

  connection.on("/ghost/beat", (beat) => {
    const sixteenth = Math.floor(beat * STEPS_PER_BEAT + 1e-3);
    if (sixteenth === played) return;
    played = sixteenth;
    paintPlayed(sixteenth);
    for (const row of rows) {
      const velocity = row.length > 0 ? row.steps[sixteenth % row.length] : 0;
      if (velocity > 0) flash(row.role, velocity);
    }
  });
  connection.on("/ghost/rolling", (rolling) => {
    if (rolling) return;
    played = -1;
    paintPlayed(-1);
  });

  paintByHand(table, setStep, (cell) => ({
    row: rows.find((row) => row.role === cell.dataset.role),
    step: page * width + Number(cell.dataset.column),
  }));
  moveByKeys(table, () => rows, setStep, () => page * width);

  let shown = "";
  function build() {
    const { voice } = selection;
    const roles = voice ? connection.roles(voice) : [];
    width = NARROW.matches ? 8 : 16;
    const wanted = `${voice} ${width} ${roles}`;
    if (wanted === shown) return;
    shown = wanted;
    page = 0;
    bindings.clear();
    place.style.setProperty("--columns", width);
    rows = [];
    rows = roles.map(rowOf);
    table.replaceChildren(...rows.map((row) => row.element));
    if (!rows.length) table.append(el("p.empty", { textContent: "This model has no drum roles." }));
    rows.forEach(paintRow);
    paintNumbers();
    pages.dataset.shown = "";
    paintPages();
    paintPlayed(played);
  }
  selection.onChange(build);
  NARROW.addEventListener("change", build);
}

/** A press on a step changes it; dragging on gives the others of its row the same velocity. */
function paintByHand(table, setStep, find) {
  function begin({ target }) {
    const cell = target.closest(".cell");
    if (!cell) return null;
    const { row, step } = find(cell);
    const velocity = nextVelocity(row.steps[step] ?? 0);
    return { touched: cell, row, velocity, column: Number(cell.dataset.column) };
  }
  // All steps from the last to the one that is above or below: quick hands jump, and stray.
  strokes(table, begin, (stroke, x) => {
    const { row, velocity, column } = stroke;
    const left = (cell) => cell.getBoundingClientRect().left;
    stroke.column = Math.max(0, row.cells.findLastIndex((cell) => left(cell) <= x));
    const [first, last] = [column, stroke.column].sort((a, b) => a - b);
    for (const cell of row.cells.slice(first, last + 1)) {
      const { step } = find(cell);
      if ((row.steps[step] ?? 0) !== velocity) setStep(row, step, velocity);
    }
  });
}

/** Arrow keys go from step to step, Enter and space change one, 0 to 9 set its velocity. */
function moveByKeys(table, allRows, setStep, first) {
  table.addEventListener("keydown", (event) => {
    const cell = event.target.closest(".cell");
    if (!cell || event.ctrlKey || event.metaKey || event.altKey) return;
    const rows = allRows();
    const at = rows.findIndex((row) => row.role === cell.dataset.role);
    const column = Number(cell.dataset.column);
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const step = first() + column;
    if (event.key in moves) {
      const [down, right] = moves[event.key];
      const next = rows[at + down]?.cells[column + right];
      if (next) {
        cell.tabIndex = -1;
        next.tabIndex = 0;
        next.focus();
      }
    } else if (event.key === "Enter" || event.key === " ") {
      setStep(rows[at], step, nextVelocity(rows[at].steps[step] ?? 0));
    } else if (/^Digit\d$/.test(event.code)) {
      setStep(rows[at], step, Number(event.code.at(-1)) / 9);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
}
