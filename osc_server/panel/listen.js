// "Listen here": the master's sound in this browser, for a server without a sound card.

import { toggle } from "./dom.js";

export function listen(monitor, place, tell) {
  let context = null;
  let node = null;
  let end = null;

  async function start() {
    context ??= new AudioContext({ latencyHint: "interactive" });
    await context.resume();
    if (!node) {
      await context.audioWorklet.addModule("/panel/player.js");
      node = new AudioWorkletNode(context, "ghostnote-player", { outputChannelCount: [2] });
      node.connect(context.destination);
    }
    node.port.postMessage("reset");
    end = monitor.on((samples, samplerate) => node.port.postMessage({ samples, samplerate }));
  }

  const made = toggle("listen here", async (on) => {
    made.set(on);
    try {
      if (on) {
        await start();
        return;
      }
      end?.();
      await context?.suspend();
    } catch (error) {
      made.set(false);
      tell(`no sound here: ${error.message}`, "fail");
    }
  }, { label: "Hear the master in this browser", className: "listen" }); // prettier-ignore
  place.append(made);
}
