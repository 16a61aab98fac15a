// Short notices: what the server refused, what went wrong, what was done.

import { el } from "./dom.js";

const SECONDS = { done: 3, fail: 7 };
const MOST = 3;

/** Returns a function that shows a line for a while: `tell(text, kind)`, kind "done" or "fail". */
export function notices(connection, place) {
  function tell(text, kind = "done") {
    const same = [...place.children].find((one) => one.firstChild.data === text);
    same?.remove();
    const line = el(`p.${kind}`, { textContent: text });
    place.append(line);
    while (place.children.length > MOST) place.firstChild.remove();
    window.setTimeout(() => line.remove(), SECONDS[kind] * 1000);
  }

  connection.on("/fail", (command, reason) => {
    tell(`${command.replace(/^\/ghost\//, "")}: ${reason}`, "fail");
  });
  connection.on("/ghost/late", (address, seconds) => {
    tell(`${address} came ${(seconds * 1000).toFixed(0)} ms late`, "fail");
  });
  for (const address of ["/ghost/sink", "/ghost/backend"]) {
    connection.on(address, (text) => tell(text, "fail"));
  }
  const heard = new Set();
  connection.onTree(() => {
    for (const voice of connection.voices()) {
      if (heard.has(voice)) continue;
      heard.add(voice);
      connection.on(`/ghost/voice/${voice}/reprimed`, (reason) => {
        tell(`voice ${voice} had fallen into ${reason} and was begun anew`, "fail");
      });
    }
  });
  return tell;
}
