// What is heard, to look at: the waveform and the spectrum as they go by, and a scope.

import { el, toggle } from "./dom.js";
import { Spectrum } from "./fft.js";

const SIZE = 2048;
const COLUMNS_PER_SECOND = 100;
const LOWEST_HZ = 32;
const HIGHEST_HZ = 15_000;
const FLOOR_DB = -80;
const TOP_DB = -8;
const WAVE_SHARE = 0.26; // of the height
const WAVE_POWER = 0.6; // soft sounds are drawn larger than they are
const SCOPE_SECONDS = 0.025;
const LINES_HZ = [100, 1_000, 10_000];
// Dark to light, as heat: the colours of the panel.
const HEAT = [[0, 12, 14, 17], [0.22, 34, 20, 56], [0.45, 116, 28, 84], [0.66, 214, 70, 84], [0.84, 246, 160, 112], [1, 255, 240, 214]]; // prettier-ignore

export function sound(monitor, place) {
  const history = el("canvas.history", { role: "img", "aria-label": "waveform and spectrogram of the master" }); // prettier-ignore
  const scope = el("canvas.scope", { role: "img", "aria-label": "oscilloscope of the master" });
  const axis = el("div.axis", { "aria-hidden": "true" }, ...LINES_HZ.map((hz) => {
    const line = el("span", { textContent: hz < 1000 ? `${hz} Hz` : `${hz / 1000} kHz` });
    line.style.setProperty("--at", WAVE_SHARE + (1 - WAVE_SHARE) * (1 - place01(hz)));
    return line;
  })); // prettier-ignore
  const trouble = el("p.trouble", { hidden: true });
  monitor.onTrouble((text) => {
    trouble.textContent = text;
    trouble.hidden = !text;
  });
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  let end = null;
  const freeze = toggle("freeze", (on) => {
    freeze.set(on);
    end?.();
    end = on ? null : monitor.on(take);
  }, { label: "Let the pictures stand still", className: "small" }); // prettier-ignore
  place.querySelector("h2").after(el("div.tools", {}, freeze));
  place.append(el("div.screens", {}, el("div.screen", {}, history, axis, trouble), el("div.screen.small-screen", {}, scope)));

  const ring = new Float32Array(16384);
  const spectrum = new Spectrum(SIZE);
  const levels = new Float32Array(SIZE / 2);
  let written = 0; // frames
  let drawn = 0;
  let rate = 48000;
  let frame = 0;
  let height01 = 1; // of the sound that fills the scope

  function take(samples, samplerate) {
    if (samplerate !== rate) rows = [];
    rate = samplerate;
    for (let at = 0; at < samples.length; at += 2) {
      ring[written++ % ring.length] = 0.5 * (samples[at] + samples[at + 1]);
    }
    frame ||= window.requestAnimationFrame(draw);
  }

  const trail = history.getContext("2d", { alpha: false });
  const beam = scope.getContext("2d", { alpha: false });
  let rows = [];

  function fit(canvas) {
    const scale = Math.min(window.devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * scale);
    const height = Math.round(canvas.clientHeight * scale);
    if (!width || !height) return false;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
      if (canvas === history) {
        trail.fillStyle = "#0c0e11";
        trail.fillRect(0, 0, width, height);
      }
    }
    return true;
  }

  function draw() {
    frame = 0;
    if (fit(history)) drawHistory();
    else drawn = written;
    if (fit(scope)) drawScope();
  }

  function drawHistory() {
    const hop = rate / COLUMNS_PER_SECOND;
    const { width, height } = history;
    const tall = height - Math.round(height * WAVE_SHARE);
    if (rows.length !== tall) rows = rowsOf(tall, rate);
    let columns = Math.floor((written - drawn) / hop);
    if (columns <= 0) return;
    const most = Math.min(width, Math.floor((ring.length - SIZE) / hop));
    if (columns > most) {
      drawn = written - most * hop; // this tab was asleep
      columns = most;
    }
    const scale = Math.max(1, Math.round(width / history.clientWidth));
    trail.drawImage(history, -columns * scale, 0);
    const image = trail.createImageData(columns * scale, height);
    const pixels = new Uint32Array(image.data.buffer);
    for (let column = 0; column < columns; column++) {
      const from = drawn;
      drawn += hop;
      spectrum.decibels(ring, Math.floor(drawn), levels);
      const x = column * scale;
      paintWave(pixels, image.width, x, scale, Math.round(height * WAVE_SHARE), from, drawn);
      paintSpectrum(pixels, image.width, x, scale, Math.round(height * WAVE_SHARE));
    }
    trail.putImageData(image, width - columns * scale, 0);
  }

  function paintWave(pixels, width, x, scale, height, from, to) {
    let low = 0;
    let high = 0;
    for (let at = Math.floor(from); at < to; at++) {
      const sample = ring[at % ring.length];
      low = Math.min(low, sample);
      high = Math.max(high, sample);
    }
    const middle = (height - 1) / 2;
    const reach = middle - 2;
    const top = Math.round(middle - Math.min(1, high) ** WAVE_POWER * reach);
    const bottom = Math.round(middle + Math.min(1, -low) ** WAVE_POWER * reach);
    for (let y = 0; y < height; y++) {
      const inside = y >= top && y <= bottom;
      const colour = inside ? (high > 0.98 || low < -0.98 ? CLIP : WAVE) : GROUND;
      pixels.fill(colour, y * width + x, y * width + x + scale);
    }
  }

  function paintSpectrum(pixels, width, x, scale, top) {
    rows.forEach(([first, last, part], y) => {
      let level = -120;
      if (last - first < 1.5) {
        const next = Math.min(first + 1, levels.length - 1);
        level = levels[first] * (1 - part) + levels[next] * part;
      } else {
        for (let bin = first; bin <= last; bin++) level = Math.max(level, levels[bin]);
      }
      const warm = Math.max(0, Math.min(1, (level - FLOOR_DB) / (TOP_DB - FLOOR_DB)));
      const at = (y + top) * width + x;
      pixels.fill(COLOURS[Math.round(warm * 255)], at, at + scale);
    });
  }

  function drawScope() {
    const { width, height } = scope;
    const frames = Math.round(SCOPE_SECONDS * rate);
    let first = written - frames - 1;
    // Stands still: begins where the sound rises through zero.
    for (let back = 0; back < frames; back++) {
      const at = first - back + ring.length;
      if (ring[(at - 1) % ring.length] < 0 && ring[at % ring.length] >= 0) {
        first -= back;
        break;
      }
    }
    beam.fillStyle = "#0c0e11";
    beam.fillRect(0, 0, width, height);
    beam.strokeStyle = "#232932";
    beam.lineWidth = 1;
    beam.beginPath();
    for (const y of [0.25, 0.5, 0.75]) {
      beam.moveTo(0, Math.round(y * height) + 0.5);
      beam.lineTo(width, Math.round(y * height) + 0.5);
    }
    beam.stroke();
    // As large as the loudest of the last seconds asks for, at most ten times.
    let loudest = 0;
    for (let at = 0; at < frames; at++) {
      loudest = Math.max(loudest, Math.abs(ring[(first + at + ring.length) % ring.length]));
    }
    height01 = Math.max(loudest, height01 * 0.985, 0.1);
    beam.strokeStyle = "#f2a07b";
    beam.lineWidth = Math.max(1.5, width / 220);
    beam.lineJoin = "round";
    beam.beginPath();
    for (let at = 0; at < frames; at++) {
      const sample = ring[(first + at + ring.length) % ring.length] / height01;
      beam.lineTo((at / (frames - 1)) * width, height / 2 - sample * (height / 2 - 3));
    }
    beam.stroke();
  }

  fit(history);
  fit(scope);
  freeze.set(still);
  if (!still) end = monitor.on(take);
}

/** Returns the place of a frequency on the axis, 0 lowest to 1 highest. */
function place01(hz) {
  return Math.log(hz / LOWEST_HZ) / Math.log(HIGHEST_HZ / LOWEST_HZ);
}

/** Returns for each row of pixels, top first, the bins that it shows: first, last, part between. */
function rowsOf(height, rate) {
  const binOf = (place) => (LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** place * SIZE) / rate;
  return Array.from({ length: height }, (_, y) => {
    const low = binOf((height - 1 - y) / height);
    const high = Math.min(binOf((height - y) / height), SIZE / 2 - 1);
    return [Math.floor(low), Math.max(Math.floor(low), Math.floor(high)), low % 1];
  });
}

const packed = (red, green, blue) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
const GROUND = packed(12, 14, 17);
const WAVE = packed(242, 160, 123);
const CLIP = packed(255, 84, 104);
const COLOURS = Uint32Array.from({ length: 256 }, (_, at) => {
  const warm = at / 255;
  const above = Math.max(1, HEAT.findIndex(([place]) => place >= warm));
  const [low, high] = [HEAT[above - 1], HEAT[above]];
  const part = (warm - low[0]) / (high[0] - low[0]);
  return packed(...[1, 2, 3].map((c) => Math.round(low[c] + part * (high[c] - low[c]))));
});
