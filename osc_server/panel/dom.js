// What the parts of the panel are made of: elements, bars that are dragged, buttons, menus.

const SLOP = 10; // px that a finger moves in a tap
const SVG = "http://www.w3.org/2000/svg";

/** Returns a new element with properties, data-... and aria-... attributes, and children. */
export function el(tag, properties = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  assign(element, properties);
  element.append(...children.filter((child) => child != null));
  return element;
}

/** Returns a new SVG element with attributes and children. */
export function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function assign(element, properties) {
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role") element.setAttribute(key, value);
    else element[key] = value;
  }
}

/** Returns a button; `label` is what a screen reader says where the text alone will not do. */
export function button(text, onclick, { label, className = "", ...more } = {}) {
  return el("button", {
    type: "button", className, onclick, textContent: text, title: label ?? "",
    "aria-label": label, ...more,
  }); // prettier-ignore
}

/** Returns a button that is on or off, with `.set(on)`. */
export function toggle(text, onchange, options = {}) {
  const made = button(text, () => onchange(made.getAttribute("aria-pressed") !== "true"), options);
  made.set = (on) => made.setAttribute("aria-pressed", String(Boolean(on)));
  made.set(false);
  return made;
}

/**
 * Returns a bar with its name and value on it, dragged or stepped by keys, with `.set(value)`.
 *
 * `curve` says how its places go: value = low + (high - low) * place ** curve. A double click sets
 * `usual`. `centre` is the value from which it is filled.
 */
export function bar(name, { low, high, step, usual, curve = 1, centre = low, show, onchange }) {
  const places = 1000;
  const place = (value) => ((value - low) / (high - low)) ** (1 / curve);
  const input = el("input", {
    type: "range", min: 0, max: places, step: "any", "aria-label": name,
  }); // prettier-ignore
  const output = el("output");
  const made = el("label.bar", {}, input, el("span.bar-name", { textContent: name }), output);
  let current = usual;
  const rounded = (value) => Number((Math.round(value / step) * step).toFixed(6));
  const paint = () => {
    const at = place(Math.min(Math.max(current, low), high));
    const from = place(centre);
    input.value = at * places;
    made.style.setProperty("--from", Math.min(at, from));
    made.style.setProperty("--to", Math.max(at, from));
    made.style.setProperty("--at", at);
    made.classList.toggle("usual", current === usual || at === 0);
    output.textContent = show(current);
    input.setAttribute("aria-valuetext", show(current));
  };
  const change = (value) => {
    current = Math.min(Math.max(rounded(value), low), high);
    paint();
    onchange(current);
  };
  const go = (at) => change(low + (high - low) * Math.min(Math.max(at, 0), 1) ** curve);
  input.addEventListener("input", () => go(input.value / places)); // by a screen reader
  // By hand it is ours: some phones move a slider only by its thumb, which is not to be seen here.
  strokes(made, () => ({ touched: made }), (_, x) => {
    const { left, width } = made.getBoundingClientRect();
    go((x - left) / width);
  }); // prettier-ignore
  input.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const least = Math.max(step, (high - low) / 200);
    change(current + steps[event.key] * (event.shiftKey ? step : least));
  });
  made.addEventListener("dblclick", () => usual !== undefined && change(usual));
  made.set = (value) => {
    if (value === undefined || Number(value) === current) return;
    current = rounded(Number(value)); // as 32 bits hold it, 0.85 is not quite
    paint();
  };
  current ??= low;
  paint();
  return made;
}

/**
 * Presses and drags sideways: `begin(event)` returns a stroke or null, `go(stroke, x)` is called
 * where it is pressed and wherever it moves. Its `touched` is the element that shows the finger.
 *
 * A finger may be about to scroll: it counts when it goes sideways, or is lifted where it was.
 */
export function strokes(place, begin, go) {
  const held = new Map(); // by pointer
  const end = ({ pointerId }) => {
    held.get(pointerId)?.stroke.touched.classList.remove("touched");
    held.delete(pointerId);
  };
  place.addEventListener("pointerdown", (event) => {
    const stroke = event.button === 0 && begin(event);
    if (!stroke) return;
    event.target.setPointerCapture(event.pointerId);
    const waits = event.pointerType !== "mouse";
    held.set(event.pointerId, { stroke, waits, x: event.clientX, y: event.clientY });
    if (waits) stroke.touched.classList.add("touched");
    else go(stroke, event.clientX);
  });
  place.addEventListener("pointermove", (event) => {
    const one = held.get(event.pointerId);
    if (!one) return;
    const [across, down] = [event.clientX - one.x, event.clientY - one.y].map(Math.abs);
    if (one.waits && Math.max(across, down) < SLOP) return;
    if (!(event.buttons & 1) || (one.waits && across <= down)) {
      end(event);
      return;
    }
    if (one.waits) go(one.stroke, one.x);
    one.waits = false;
    go(one.stroke, event.clientX);
  });
  place.addEventListener("pointerup", (event) => {
    const one = held.get(event.pointerId);
    if (one?.waits) go(one.stroke, one.x);
    end(event);
  });
  place.addEventListener("pointercancel", end);
}

/** Returns a menu with `.fill(names)` and `.set(name)`; entries are names or [value, text]. */
export function menu(name, onchange, options = {}) {
  const made = el("select", { "aria-label": name, title: name, ...options });
  let filled = "";
  made.addEventListener("change", () => onchange(made.value));
  made.fill = (entries) => {
    const pairs = entries.map((entry) => (Array.isArray(entry) ? entry : [entry, entry]));
    const now = JSON.stringify(pairs);
    if (now === filled) return;
    filled = now;
    const chosen = made.value;
    const empty = made.options.length === 0;
    made.replaceChildren(...pairs.map(([value, text]) => new Option(text, value)));
    if (!empty) made.set(chosen);
  };
  made.set = (value) => {
    const known = [...made.options].some((option) => option.value === String(value));
    if (known) made.value = String(value);
    else made.selectedIndex = -1;
  };
  return made;
}

/** Returns a level meter with `.set(peak, rms)`, linear; it is drawn on a scale of decibels. */
export function meter(name) {
  const made = el("div.meter", { role: "meter", "aria-label": name,
    "aria-valuemin": -60, "aria-valuemax": 0 }, el("i.rms"), el("i.peak")); // prettier-ignore
  let held = 0;
  made.set = (peak, rms) => {
    held = Math.max(peak, held * 0.92);
    made.style.setProperty("--rms", meterPlace(rms));
    made.style.setProperty("--peak", meterPlace(held));
    const level = Math.round(decibels(peak));
    if (made.getAttribute("aria-valuenow") !== String(level)) made.setAttribute("aria-valuenow", level);
  };
  made.set(0, 0);
  return made;
}

export const decibels = (linear) => Math.max(-60, 20 * Math.log10(Math.max(linear, 1e-6)));
const meterPlace = (linear) => Math.round((decibels(linear) / 60 + 1) * 1000) / 1000;

export const showDecibels = (value) =>
  value <= -90 ? "−∞ dB" : `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(1)} dB`.replace("+0.0", "0.0");
export const showPercent = (value) => `${Math.round(value * 100)} %`;

/** A gain in decibels on a bar: 0 dB at three quarters, silence at the left end. */
export function gainBar(name, onchange) {
  const low = -60;
  return bar(name, {
    low, high: 12, step: 0.1, usual: 0, curve: 0.6,
    show: (value) => showDecibels(value <= low ? -90 : value),
    onchange: (value) => onchange(value <= low ? -90 : value),
  }); // prettier-ignore
}

/** The colour of a voice, one of eight. */
export const hue = (voice) => `voice-${(voice - 1) % 8}`;
