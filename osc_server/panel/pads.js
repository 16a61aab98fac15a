// Pads: one for each drum role. The higher a pad is touched, the harder it is hit.

import { el } from "./dom.js";

// Keys by their place on the keyboard, whatever is printed on them.
const KEYS = {
  9: ["KeyQ", "KeyW", "KeyE", "KeyA", "KeyS", "KeyD", "KeyZ", "KeyX", "KeyC"],
  16: ["Digit1", "Digit2", "Digit3", "Digit4", "KeyQ", "KeyW", "KeyE", "KeyR",
    "KeyA", "KeyS", "KeyD", "KeyF", "KeyZ", "KeyX", "KeyC", "KeyV"],
}; // prettier-ignore
const KEY_VELOCITY = 0.8;
const SOFTEST = 0.2;
const FLASH_MS = 120;

export function pads(connection, selection, place) {
  const board = el("div.board");
  place.append(board, el("p.hint", {}, "higher is harder", el("span.by-keys", { textContent: " · shift accents" })));
  let pads = new Map(); // by role
  let byKey = new Map();

  function hit(role, velocity) {
    connection.send(`/ghost/voice/${selection.voice}/trig/${role}`, velocity);
    flash(role, velocity);
  }

  function flash(role, velocity) {
    const pad = pads.get(role);
    if (!pad) return;
    pad.style.setProperty("--hit", velocity);
    pad.classList.add("hit");
    window.clearTimeout(pad.fading);
    pad.fading = window.setTimeout(() => pad.classList.remove("hit"), FLASH_MS);
  }

  function padOf(role, code) {
    const letter = el("kbd", { textContent: code.replace(/^Key|^Digit/, "") });
    const pad = el("button.pad", { type: "button", "aria-label": `${role}, key ${letter.textContent}` },
      el("span", { textContent: role }), code ? letter : null); // prettier-ignore
    pad.dataset.role = role;
    pad.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault(); // no text selected, no focus moved away from the keys
      const box = pad.getBoundingClientRect();
      const height = 1 - (event.clientY - box.top) / box.height;
      hit(role, SOFTEST + (1 - SOFTEST) * Math.min(Math.max(height * 1.15, 0), 1));
    });
    // Enter and space on a pad with the focus come as clicks without a pointer.
    pad.addEventListener("click", (event) => event.detail === 0 && hit(role, KEY_VELOCITY));
    pad.addEventListener("contextmenu", (event) => event.preventDefault());
    relabel(letter, code);
    return pad;
  }

  document.addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input:not([type=range]), select, textarea, audio")) return;
    const role = byKey.get(event.code);
    if (role === undefined) return;
    event.preventDefault();
    hit(role, event.shiftKey ? 1 : KEY_VELOCITY);
  });

  let shown = "";
  selection.onChange((voice) => {
    const roles = voice ? connection.roles(voice) : [];
    if (roles.join() === shown) return;
    shown = roles.join();
    const keys = KEYS[roles.length <= 9 ? 9 : 16];
    board.classList.toggle("wide", roles.length > 9);
    pads = new Map(roles.map((role, at) => [role, padOf(role, keys[at] ?? "")]));
    byKey = new Map(roles.slice(0, keys.length).map((role, at) => [keys[at], role]));
    board.replaceChildren(...pads.values());
    if (!roles.length) board.append(el("p.empty", { textContent: "This model has no drum roles." }));
  });

  return { flash };
}

/** Shows what is printed on a key, where the browser knows the keyboard. */
async function relabel(letter, code) {
  if (!navigator.keyboard?.getLayoutMap) return;
  try {
    const printed = (await navigator.keyboard.getLayoutMap()).get(code);
    if (printed) letter.textContent = printed.toUpperCase();
  } catch {
    // Not allowed here: the letters of a US keyboard stay.
  }
}
