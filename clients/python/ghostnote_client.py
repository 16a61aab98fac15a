"""Plays a groove on ghostnote over OSC and prints what the server answers; Python's library only.

    python ghostnote_client.py [--host 127.0.0.1] [--port 9770] [--bpm 120] [--bars 4]

Each hit goes as a bundle 0.2 s ahead of its timetag: this program may wake up late, the hit will
not come late.
"""

import argparse
import socket
import struct
import time

NTP = 2208988800  # seconds from 1900, where OSC counts from, to 1970
AHEAD = 0.2
GROOVE = {"kick": "X...x...x.x.x...", "snare": "....X..o.o..X...", "hat": "x.oxx.oxx.oxx.o."}
VELOCITY = {"x": 0.75, "X": 1.0, "o": 0.35}


def text(value: str) -> bytes:
    data = value.encode() + b"\0"
    return data + bytes(-len(data) % 4)


def message(address: str, *values: object) -> bytes:
    tags, data = ",", b""
    for value in values:
        if isinstance(value, str):
            tags, data = tags + "s", data + text(value)
        elif isinstance(value, int):
            tags, data = tags + "i", data + struct.pack(">i", value)
        else:
            tags, data = tags + "f", data + struct.pack(">f", value)
    return text(address) + text(tags) + data


def bundle(unix: float, *messages: bytes) -> bytes:
    tag = struct.pack(">Q", int((unix + NTP) * 2**32))
    return text("#bundle") + tag + b"".join(struct.pack(">i", len(m)) + m for m in messages)


def words(data: bytes) -> list[object]:
    """A message as [address, argument, ...]."""
    found: list[object] = []
    at, tags = 0, "ss"  # the address and the tags themselves are strings
    while len(found) < len(tags):
        tag = tags[len(found)]
        if tag == "s":
            word = data[at:].partition(b"\0")[0].decode()
            found, at = [*found, word], at + len(text(word))
        elif tag in "ifhd":
            kind = ">" + tag.replace("h", "q")
            found, at = [*found, *struct.unpack_from(kind, data, at)], at + struct.calcsize(kind)
        else:
            found.append(tag == "T")
        if len(found) == 2:
            tags += str(found[1])[1:]
    return [found[0], *found[2:]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    for name, value in (("port", 9770), ("bpm", 120.0), ("bars", 4)):
        parser.add_argument(f"--{name}", type=type(value), default=value)
    options = parser.parse_args()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect((options.host, options.port))
    udp.send(message("/ghost/version"))
    begin = time.time() + AHEAD + 0.1
    for step in range(16 * options.bars):
        due = begin + step * 15 / options.bpm
        udp.settimeout(0.001)
        while time.time() < due - AHEAD:
            try:
                print(*words(udp.recv(65536)), flush=True)
            except TimeoutError:
                continue
        signs = {role: steps[step % 16] for role, steps in GROOVE.items()}
        hits = [("/ghost/trig", r, VELOCITY[s]) for r, s in signs.items() if s in VELOCITY]
        if hits:
            udp.send(bundle(due, *(message(*hit) for hit in hits)))
    time.sleep(AHEAD)


if __name__ == "__main__":
    main()
