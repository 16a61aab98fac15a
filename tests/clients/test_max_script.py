"""The script of the Max patch, in a real Node; Max's own module, which only Max has, is put in."""

import json
import os
import subprocess
import threading
from pathlib import Path

from tests.clients.played import CLIENTS, server
from tests.osc_server.waiting import until
from tests.parts import need

# What Max's [node.script] gives a script, with lines of JSON in place of inlet and outlet.
MODULE = """
const handlers = {};
exports.addHandler = (name, action) => { handlers[name] = action; };
exports.outlet = (...words) => console.log(JSON.stringify(words));
exports.post = (...words) => console.log(JSON.stringify(["post", ...words]));
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const [name, ...words] = JSON.parse(line);
  handlers[name](...words);
}).on("close", () => process.exit(0));
"""


def test_it_sends_and_hears(tmp_path: Path) -> None:
    module = tmp_path / "modules" / "max-api"
    module.mkdir(parents=True)
    (module / "index.js").write_text(MODULE)
    script = CLIENTS / "max" / "ghostnote-osc.js"
    heard: list[list[object]] = []
    with server(tmp_path) as played:
        environment = {**os.environ, "NODE_PATH": str(module.parent)}
        process = subprocess.Popen(
            [need("node"), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert process.stdin is not None and process.stdout is not None
        output = process.stdout

        def read() -> None:
            heard.extend(json.loads(line) for line in output)

        reader = threading.Thread(target=read)
        reader.start()

        def say(*words: object) -> None:
            assert process.stdin is not None
            process.stdin.write(json.dumps(words) + "\n")
            process.stdin.flush()

        try:
            say("connect", "127.0.0.1", played.port)
            until(lambda: ["/done", "/ghost/notify", 1, 32] in heard, "a lease")
            say("osc", "/ghost/trig", "kick", 0.9)
            say("osc", "/ghost/trig", "gong")
            until(lambda: any(words[0] == "/fail" for words in heard), "a refusal")
            played.client.send("/ghost/tempo", 97.5)
            until(lambda: ["/ghost/tempo", 97.5] in heard, "what others change")
            status = next(words for words in heard if words[0] == "/ghost/status.reply")
            assert len(status) == 12
            assert status[8] == 48000.0
        finally:
            process.stdin.close()
            process.wait(20)
            reader.join()
            process.stdout.close()
    assert [hit.role for hit in played.hits()] == ["kick"]
    assert not [words for words in heard if words[0] == "post"]
