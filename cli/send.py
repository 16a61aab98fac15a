"""`ghostnote send`: one OSC message out, the replies to it on the screen."""

import shlex
import socket
import time
from typing import Annotated, Any

import typer
from pythonosc.osc_message_builder import BuildError, OscMessageBuilder

from ghostnote.kernels.errors import GhostnoteError
from ghostnote.osc_server.framing import FramingError, LengthFraming
from ghostnote.osc_server.osc import OscParseError, by_time, parse_packet

_VALUELESS = "TFN"
_NUMBERS = {"i": int, "h": int, "f": float, "d": float}


def send(
    address: Annotated[str, typer.Argument(help="OSC address, such as /ghost/status.")],
    values: Annotated[
        list[str] | None,
        typer.Argument(help="Arguments: whole numbers go as i, others as f, words as s."),
    ] = None,
    types: Annotated[
        str | None,
        typer.Option("--types", "-t", help="Type tags instead of a guess: i h f d s T F N."),
    ] = None,
    host: Annotated[str, typer.Option(help="Where the server listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65534, help="Its UDP port.")] = 9770,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for replies.")] = 0.5,
    tcp: Annotated[bool, typer.Option("--tcp", help="Over TCP, at the port after it.")] = False,
) -> None:
    """Sends one OSC message and prints the replies that arrive within `--wait` seconds.

    Example: ghostnote send /ghost/voice/1/trig/kick 0.8
    """
    datagram = encode(address, values or [], types)
    framing = LengthFraming()
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as one:
        nobody = GhostnoteError(
            f"no server at {host} port {port + tcp}: start one with `ghostnote serve`"
        )
        try:
            # UDP too, so that a host with nothing on the port says so instead of keeping silent.
            one.connect((host, port + tcp))
        except OSError:
            raise nobody from None
        try:
            one.sendall(framing.frame(datagram) if tcp else datagram)
            until = time.monotonic() + wait
            while (left := until - time.monotonic()) > 0:
                one.settimeout(left)
                received = one.recv(65536)
                if tcp and not received:
                    return  # it has ended
                for packet in framing.feed(received) if tcp else [received]:
                    for line in decode(packet):
                        print(line, flush=True)
        except TimeoutError:
            return
        except ConnectionRefusedError:
            raise nobody from None
        except FramingError as error:
            raise GhostnoteError(f"the reply is not OSC ({error}): is the port right?") from None


# Without this a negative number, such as a gain in dB, would be taken for an option.
send.context_settings = {"ignore_unknown_options": True}  # type: ignore[attr-defined]


def encode(address: str, values: list[str], types: str | None) -> bytes:
    """Returns the datagram of one message.

    Parameters
    ----------
    address : str
        Must begin with a slash.
    values : list of str
        As typed. Each tag but T, F and N takes one of them.
    types : str or None
        Type tags; None guesses i (h beyond 32 bits), f or s from the look of each value.

    Raises typer.BadParameter for anything that cannot be sent.
    """
    if not address.startswith("/"):
        raise typer.BadParameter(f"an OSC address begins with a slash, not as {address!r} does")
    for value in values:
        if types is None and value.startswith("--"):
            raise typer.BadParameter(f"no option is called {value}; to send it as a word, use -t s")
    tags = "".join(guess(value) for value in values) if types is None else types
    needed = sum(tag not in _VALUELESS for tag in tags)
    if needed != len(values):
        raise typer.BadParameter(f"type tags {tags!r} take {needed} values, {len(values)} given")
    builder = OscMessageBuilder(address)
    rest = iter(values)
    for tag in tags:
        try:
            builder.add_arg(None if tag in _VALUELESS else convert(tag, next(rest)), tag)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
    try:
        return builder.build().dgram
    except (BuildError, OverflowError) as error:
        raise typer.BadParameter(str(error)) from None


def guess(value: str) -> str:
    """Returns the type tag that `value` looks like."""
    try:
        return "i" if -(2**31) <= int(value) < 2**31 else "h"
    except ValueError:
        pass
    try:
        float(value)
    except ValueError:
        return "s"
    return "f"


def convert(tag: str, value: str) -> Any:
    """Returns `value` as the type of `tag`; raises ValueError where it is none."""
    if tag == "s":
        return value
    if tag not in _NUMBERS:
        raise ValueError(f"type tag {tag!r} is none of i h f d s T F N")
    try:
        return _NUMBERS[tag](value)
    except ValueError:
        raise ValueError(f"{value!r} cannot be sent as type {tag}") from None


def decode(datagram: bytes) -> list[str]:
    """Returns one line per message in `datagram`: the address, then the arguments as typed here."""
    try:
        groups = by_time(parse_packet(datagram))
    except OscParseError as error:
        raise GhostnoteError(f"the reply is not OSC ({error}): is the port right?") from None
    return [
        " ".join([message.address, *(_shown(value) for value in message.args)])
        for _, messages in groups
        for message in messages
    ]


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.7g}"  # what a float32 holds
    return shlex.quote(str(value))
