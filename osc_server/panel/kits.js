// Kits of the voice that is shown: a fader for each, a point to move among them, morph.

import { bar, el, showPercent, svg } from "./dom.js";
import { Bindings } from "./selection.js";

const STEP = 0.02; // of the pad, for one press of an arrow key
const ON_THE_POINT = 1e-4;

/** Returns where kits stand: evenly on the circle of radius 0.5, the first at the top. */
export function places(count) {
  return Array.from({ length: count }, (_, kit) => {
    const angle = (2 * Math.PI * kit) / count;
    return { x: 0.5 + 0.5 * Math.sin(angle), y: 0.5 + 0.5 * Math.cos(angle) };
  });
}

/** Returns the shares of `count` kits at a point, as the server reckons them. */
export function shares(x, y, count) {
  const distances = places(count).map((place) => Math.hypot(x - place.x, y - place.y));
  const nearest = Math.min(...distances);
  if (nearest < ON_THE_POINT) {
    const pure = distances.indexOf(nearest);
    return distances.map((_, kit) => Number(kit === pure));
  }
  const all = distances.map((distance) => (nearest / distance) ** 2);
  const sum = all.reduce((a, b) => a + b, 0);
  return all.map((share) => share / sum);
}

export function kits(connection, selection, place) {
  const bindings = new Bindings(connection);
  const pad = xyPad(moved);
  const faders = el("div.faders");
  const glide = bar("glide", {
    low: 0, high: 4, step: 0.01, usual: 0.05, curve: 2, show: (value) => `${value.toFixed(2)} s`,
    onchange: (value) => connection.set(address("glide"), value),
  }); // prettier-ignore
  glide.title = "how long a change of kits takes";
  const body = el("div.kits-body", {}, pad.element, faders, glide);
  const empty = el("p.empty", { textContent: "This model has no kits.", hidden: true });
  place.append(body, empty);
  let names = [];
  let levels = [];
  let bars = [];

  const address = (last) => `/ghost/voice/${selection.voice}/${last}`;

  /** Shows levels that have come or that we have caused: faders, names, the point between. */
  function show() {
    const sum = levels.reduce((a, b) => a + b, 0);
    const parts = levels.map((level) => (sum ? level / sum : 0));
    bars.forEach((one, kit) => {
      one.set(levels[kit]);
      one.querySelector("output").textContent = showPercent(parts[kit]);
    });
    pad.mix(parts);
  }

  function assume(now) {
    levels = now;
    now.forEach((level, kit) => connection.assume(address(`weights/${kit}`), level));
    const sum = now.reduce((a, b) => a + b, 0);
    const pure = now.findIndex((level) => level > 0 && level === sum);
    connection.assume(address("kit"), pure < 0 ? "" : names[pure]);
    show();
  }

  function moved(x, y) {
    connection.later(address("xy"), x, y);
    assume(shares(x, y, names.length));
  }

  function build(voice) {
    bindings.clear();
    names = voice ? connection.choices(`/ghost/voice/${voice}/kit`) : [];
    body.hidden = names.length === 0;
    empty.hidden = names.length > 0;
    levels = names.map(() => 0);
    pad.build(names);
    bars = names.map((name, kit) => {
      const one = bar(name, {
        low: 0, high: 1, step: 0.01, show: () => "",
        onchange: (value) => {
          connection.later(address(`weights/${kit}`), value);
          const now = [...levels];
          now[kit] = value;
          assume(now);
        },
      }); // prettier-ignore
      one.classList.add(`kit-${kit % 8}`);
      return one;
    });
    faders.replaceChildren(...bars);
    names.forEach((_, kit) => {
      bindings.on(`/ghost/voice/${voice}/weights/${kit}`, (level) => {
        levels[kit] = level;
        show();
      });
    });
    bindings.on(`/ghost/voice/${voice}/xy`, (x, y) => pad.point(x, y));
    bindings.on(`/ghost/voice/${voice}/glide`, (value) => glide.set(value));
    show();
  }
  selection.onChange(build);

  // A kit that is chosen from the voice's menu is pure: the server tells us nothing of that.
  return { pure: (name) => assume(names.map((one) => Number(one === name))) };
}

/** The pad: `moved(x, y)` is called as it is dragged or its arrow keys are pressed. */
function xyPad(moved) {
  const lines = svg("g", { class: "lines" });
  const points = svg("g", { class: "points" });
  const cursor = svg("circle", { class: "cursor", r: 0.045 });
  const element = svg("svg", {
    class: "xy", viewBox: "-0.2 -0.2 1.4 1.4", tabindex: 0, role: "application",
    "aria-label": "Morph among the kits: drag, or press the arrow keys",
  }, svg("circle", { class: "ring", cx: 0.5, cy: 0.5, r: 0.5 }),
    svg("circle", { class: "ring", cx: 0.5, cy: 0.5, r: 0.25 }), lines, points, cursor); // prettier-ignore
  let at = { x: 0.5, y: 0.5 };
  let spots = [];

  function paint() {
    cursor.setAttribute("cx", at.x);
    cursor.setAttribute("cy", 1 - at.y);
    [...lines.children].forEach((line) => {
      line.setAttribute("x2", at.x);
      line.setAttribute("y2", 1 - at.y);
    });
  }

  function move(x, y) {
    at = { x: Math.min(Math.max(x, 0), 1), y: Math.min(Math.max(y, 0), 1) };
    const near = spots.find((spot) => Math.hypot(spot.x - at.x, spot.y - at.y) < 0.03);
    if (near) at = { x: near.x, y: near.y };
    paint();
    moved(at.x, at.y);
  }

  function follow(event) {
    const point = new DOMPoint(event.clientX, event.clientY);
    const { x, y } = point.matrixTransform(element.getScreenCTM().inverse());
    move(x, 1 - y);
  }
  element.addEventListener("pointerdown", (event) => {
    element.setPointerCapture(event.pointerId);
    follow(event);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) follow(event);
  });
  element.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const [x, y] = moves[event.key];
    move(at.x + x * STEP, at.y + y * STEP);
  });

  return {
    element,
    build(names) {
      spots = places(names.length);
      lines.replaceChildren(...spots.map((spot, kit) => svg("line", {
        class: `kit-${kit % 8}`, x1: spot.x, y1: 1 - spot.y, x2: at.x, y2: 1 - at.y,
      }))); // prettier-ignore
      points.replaceChildren(...spots.map((spot, kit) => {
        const low = spot.y < 0.5 - 1e-6;
        const aside = Math.abs(spot.x - 0.5) > 1e-6;
        const anchor = !aside ? "middle" : spot.x > 0.5 ? "end" : "start";
        const label = svg("text", {
          x: aside ? (spot.x > 0.5 ? 1.18 : -0.18) : spot.x,
          y: 1 - spot.y + (low ? 0.165 : -0.115), "text-anchor": anchor,
        }); // prettier-ignore
        label.textContent = names[kit];
        return svg("g", { class: `kit-${kit % 8}` },
          svg("circle", { class: "halo", cx: spot.x, cy: 1 - spot.y, r: 0.03 }),
          svg("circle", { class: "spot", cx: spot.x, cy: 1 - spot.y, r: 0.03 }), label); // prettier-ignore
      }));
      paint();
    },
    /** Shows the shares; the point goes where they are balanced unless it has them already. */
    mix(parts) {
      const sum = parts.reduce((a, b) => a + b, 0);
      const here = shares(at.x, at.y, parts.length);
      const same = parts.every((part, kit) => Math.abs(part - here[kit]) < 0.02);
      if (sum && !same) {
        at = { x: 0, y: 0 };
        parts.forEach((part, kit) => {
          at.x += part * spots[kit].x;
          at.y += part * spots[kit].y;
        });
      }
      [...lines.children].forEach((line, kit) => line.setAttribute("opacity", Math.sqrt(parts[kit])));
      [...points.children].forEach((point, kit) => {
        point.firstChild.setAttribute("r", 0.03 + 0.07 * Math.sqrt(parts[kit]));
      });
      paint();
    },
    point(x, y) {
      at = { x, y };
      paint();
    },
  };
}
