// Master: gain, limiter, meters with a lamp for what was too loud.

import { button, el, gainBar, meter, toggle } from "./dom.js";

export function master(connection, place) {
  const left = meter("left");
  const right = meter("right");
  const clips = button("clip", () => {
    seen = count;
    paint();
  }, { label: "Samples that were too loud; press to forget them", className: "small clip" }); // prettier-ignore
  const gain = gainBar("gain", (value) => connection.set("/ghost/master/gain", value));
  const limiter = toggle("limiter", (on) => connection.set("/ghost/master/limiter", on), {
    label: "Keep the loudest peaks softly below full scale",
  }); // prettier-ignore
  let count = 0;
  let seen = null;

  function paint() {
    const more = count - seen;
    clips.classList.toggle("lit", more > 0);
    clips.textContent = more > 0 ? `clip ${more > 9999 ? "9999+" : more}` : "clip";
  }
  connection.on("/ghost/master/meter", (peakLeft, peakRight, rmsLeft, rmsRight, all) => {
    left.set(peakLeft, rmsLeft);
    right.set(peakRight, rmsRight);
    seen = Math.min(seen ?? all, all); // fewer: the server was started again
    if (all !== count) {
      count = all;
      paint();
    }
  });
  connection.on("/ghost/master/gain", (value) => gain.set(value));
  connection.on("/ghost/master/limiter", limiter.set);
  const scale = el("div.scale", { "aria-hidden": "true" },
    ...["−60", "−40", "−20", "0 dB"].map((text) => el("span", { textContent: text }))); // prettier-ignore
  place.append(el("div.meters", {}, left, right, scale), gain, el("div.row-of", {}, limiter, clips));
}
