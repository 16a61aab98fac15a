"""What `benchmarks.gpu` measures on the card: playing, training, and a live voice.

Every kernel is compared with the reference at the number of streams and the precision that a figure
is told of; without that there is no figure. One thread.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ghostnote.cli import gpu_bench
from ghostnote.kernels.backends import Checkable, open_gpu, streams_work
from ghostnote.kernels.bench import measure
from ghostnote.kernels.configs import CONFIGS, SAMPLERATE
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import ROLES, ModelSpec
from ghostnote.kernels.weights import Weights, random_weights

if TYPE_CHECKING:
    from ghostnote.training.window import Window
    from tests.osc_server.live import Client

ROOT = Path(__file__).parent.parent
SECONDS = 1.0
PRECISIONS = ("bf16", "fp32")
MANY = (1024, 2048, 4096, 8192, 16384)
"""Streams tried for the share of the peak."""

MOST_STREAMS = 32768
ALONE_SECONDS = 150.0
FINE = 0.03
"""The largest number of streams is found to this share of itself."""

WHOLE, SHORT = 256, 1100
"""Streams that are checked over a receptive field; samples of more, over twice a dilation of 512."""

CHECK_HOPS = (20, 13)
GRADIENT_OFF = {"fp32": 1e-3, "bf16": 0.15}
"""Error allowed of all gradients together, as a share of their norm."""

KITS = tuple("abcdef")


@dataclass(frozen=True)
class Rate:
    """Samples a second of all streams together."""

    precision: str
    streams: int
    samples_per_s: float
    spread: bool = False


def rate(
    config: str, precision: str, streams: int, seconds: float = SECONDS, spread: bool = False
) -> Rate:
    """Measure so many streams of a network of the literature.

    With `spread` the layers are shared out among programs (`kernels.gpu_spread`), not the streams.

    Raises
    ------
    GhostnoteError
        If they do not fit onto the card, cannot be spread, or it fails.
    """
    spec = CONFIGS[config]
    weights = random_weights(spec, seed=1)
    with gpu_bench.told_if_lost(f"{streams} streams in {precision}"):
        state = (_open_spread if spread else open_gpu)(spec, weights, precision, streams)
        work = streams_work(state, spec, streams)
        found = measure({"gpu": work}, seconds)["gpu"]
    return Rate(precision, streams, found, spread)


def checked(found: Rate, config: str) -> Rate:
    """Return a rate whose streams play what the reference does: as many, at the same precision.

    Over more than a receptive field up to `WHOLE` streams; of more, the outputs of a shorter time,
    since gigabytes of them have to be fetched from the card.

    Raises
    ------
    GhostnoteError
        If they play something else.
    """
    spec = CONFIGS[config]
    weights = random_weights(spec, seed=1)
    truth = gpu_bench.Truth(spec, weights)
    opened = _open_spread if found.spread else open_gpu
    streams = min(found.streams, WHOLE)
    gpu_bench.check(spec, weights, found.precision, streams, truth, opened)
    if found.streams > WHOLE:
        truth.given = [levels[:SHORT] for levels in truth.given]
        truth.expected = [outputs[:SHORT] for outputs in truth.expected]
        gpu_bench.check(spec, weights, found.precision, found.streams, truth, opened)
    return found


def _open_spread(spec: ModelSpec, weights: Weights, precision: str, streams: int) -> Checkable:
    from ghostnote.kernels.gpu_state import GpuState

    return GpuState(spec, weights, precision, streams=streams, spread=True)


def one_alone(config: str, precision: str, spread: bool, limit: float = ALONE_SECONDS) -> Rate:
    """Measure and check one stream in a process of its own, which is ended when it takes too long.

    Programs that wait for each other on a card could do so for ever.

    Raises
    ------
    GhostnoteError
        If it does not end in time, or as of `rate` and `checked`.
    """
    command = [sys.executable, "-m", "benchmarks.gpu_rows", config, precision, str(int(spread))]
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False
        )
    except subprocess.TimeoutExpired:
        raise GhostnoteError(f"does not end within {limit:g} s") from None
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    if done.returncode or not lines:
        raise GhostnoteError(lines[-1] if lines else f"ends with status {done.returncode}")
    return Rate(precision, 1, float(lines[-1]), spread)


def real_time_streams(config: str, precision: str, most: int = MOST_STREAMS) -> Rate | None:
    """Return the largest number of streams found to play in real time at 16 kHz; None if none does."""
    tried: dict[int, Rate] = {}

    def keeps_up(streams: int) -> bool:
        try:
            tried[streams] = rate(config, precision, streams)
        except GhostnoteError as error:
            print(error, file=sys.stderr)  # a want of memory, as a rule
            return False
        return tried[streams].samples_per_s >= streams * SAMPLERATE

    count = largest(keeps_up, 64, most)
    return checked(tried[count], config) if count else None


def largest(fits: Callable[[int], bool], first: int, most: int, fine: float = FINE) -> int:
    """Return the largest count up to `most` that fits, to a share `fine`; 0 if none does.

    By doubling from `first`, then by halving what is in between: as if all below one that fits did
    fit.

    >>> largest(lambda n: n <= 700, 64, 4096, 0.01)
    696
    """
    good, bad = 0, 0
    count = first
    while not bad and good < most:
        if fits(count):
            good, count = count, min(2 * count, most)
        else:
            bad = count
    while bad and bad - good > max(1, int(fine * bad)):
        middle = (good + bad) // 2
        middle -= middle % 8 if bad - good > 16 else 0
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good


def best_of_many(config: str, precision: str, counts: Sequence[int] = MANY) -> Rate:
    """Return the fastest of many numbers of streams; those that do not fit are left out."""
    found = []
    for streams in counts:
        try:
            found.append(rate(config, precision, streams))
        except GhostnoteError:
            if not found:
                raise
            break  # more do not fit
    return checked(max(found, key=lambda one: one.samples_per_s), config)


def training_spec(channels: int, samplerate: int) -> ModelSpec:
    """Return a network of the bundled model's form, 20 layers of so many channels."""
    return ModelSpec(
        samplerate,
        samplerate // 1000,
        tuple(2**i for i in range(10)) * 2,
        residual=channels,
        gate=channels,
        skip=2 * channels,
        head=128,
        roles=ROLES,
        kits=KITS,
        ages=4000,
        age_features=15,
        cond_hidden=(128, 64),
    )


@dataclass(frozen=True)
class Trained:
    """Samples trained on a second; the share of the card's measured matrix peak; how."""

    samples_per_s: float
    peak_share: float
    windows: int
    compiled: bool
    pieces: int


def training(
    spec: ModelSpec, windows: int, seconds: float = 10.0, hops: int = 500, device: str = "cuda"
) -> Trained:
    """Train a network on noise with so many windows a step: forward, backward and Adam.

    Raises
    ------
    GhostnoteError
        If the device's losses or gradients are not those of the CPU (`check_training`).
    """
    import torch

    from ghostnote.training.batched import Batched
    from ghostnote.training.wavenet import WaveNet

    check_training(spec, device)
    torch.manual_seed(1)
    model = WaveNet(spec).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    computer = Batched(model, torch.device(device), "bf16", compiled=device != "cpu")
    batch = computer.prepare([_window(spec, hops, seed) for seed in range(windows)])

    def steps() -> int:
        computer.gradients(batch)  # returns a number: it waits for the device
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return windows * hops * spec.hop

    steps()  # compiles, and finds what fits
    found = measure({"train": steps}, seconds)["train"]
    told = computer.measured(found)
    return Trained(
        found, told.get("peak_share", 0.0), windows, bool(told["compiled"]), int(told["pieces"])
    )


def check_training(spec: ModelSpec, device: str) -> None:
    """Compare bits and gradients of a step on a device with those of the CPU's code in fp32.

    Raises
    ------
    GhostnoteError
        If they are apart: in fp32 by rounding in another order, in bf16 by 8 bits a product.
    """
    import torch

    from ghostnote.training.batched import Batched
    from ghostnote.training.per_window import PerWindow
    from ghostnote.training.wavenet import WaveNet

    def flat(model: WaveNet) -> torch.Tensor:
        found = [p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]
        return torch.cat(found)

    torch.manual_seed(1)
    model = WaveNet(spec)
    windows = [_window(spec, hops, hops) for hops in CHECK_HOPS]
    with closing(PerWindow(model, None, "fp32")) as alone:
        bits = alone.gradients(windows)
    expected = flat(model)
    model = model.to(device)
    for precision, compiled in (("fp32", False), ("bf16", device != "cpu")):
        computer = Batched(model, torch.device(device), precision, compiled)
        found = computer.gradients(computer.prepare(windows))
        off = float((flat(model) - expected).norm() / expected.norm())
        if not (abs(found - bits) <= 0.01 * bits and off <= GRADIENT_OFF[precision]):
            raise GhostnoteError(
                f"parity: training in {precision} on {device}: {found:.4f} bits where the CPU finds "
                f"{bits:.4f}, gradients off by {off:.2g}"
            )


def _window(spec: ModelSpec, hops: int, seed: int) -> Window:
    from ghostnote.training.window import Window

    rng = np.random.default_rng(seed)
    lead = -(-spec.receptive_field // spec.hop)
    length = (lead + hops) * spec.hop
    levels = rng.integers(0, spec.levels, length + 1)
    rows = rng.random((lead + hops, spec.conditioning), np.float32)
    return Window(levels[:-1], levels[1:], rows, np.ones(length, np.float32), lead * spec.hop)


@dataclass(frozen=True)
class Live:
    """What a server with a voice on the GPU told at its end."""

    seconds: float
    underruns: int
    load: float
    notes: tuple[str, ...]


def live_voice(seconds: float, sink: str = "null", backend: str = "gpu") -> Live:
    """Play the bundled model with `ghostnote serve` and ask it at the end how often the ring ran empty.

    Raises
    ------
    GhostnoteError
        If the server does not start; its last line tells why.
    """
    from tests.osc_server.live import Client

    port = _free_port()
    run = "import sys; from ghostnote.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", run, "serve", "--demo", "--ring", "256", "--sink", sink]
    command += ["--samplerate", "48000", "--blocksize", "256", "--backend", backend]
    command += ["--port", str(port)]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command += ["--state", str(Path(folder) / "state.json")]
        with log.open("w") as file:
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            _until_ready(process, log)
            client = Client(port)
            before = _status(client)
            time.sleep(seconds)
            after = _status(client)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()  # else it would keep the card from what is measured next
                process.wait()
        told = log.read_text().splitlines()
    notes = tuple(line for line in told if re.search("GPU|ran empty", line))
    return Live(seconds, int(after[4]) - int(before[4]), float(after[2]), notes)


def _free_port() -> int:
    """Return a UDP port that is free, and whose number is most likely free for TCP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        return int(udp.getsockname()[1])


def _status(client: Client) -> tuple[Any, ...]:
    client.send("/ghost/status")
    return client.expect("/ghost/status.reply")[1:]


def _until_ready(process: subprocess.Popen[bytes], log: Path, seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while "\nready" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            lines = log.read_text().strip().splitlines() or ["it said nothing"]
            raise GhostnoteError(f"ghostnote serve does not start: {lines[-1]}")
        time.sleep(0.1)
    time.sleep(5.0)  # the kernel that stays on the GPU is compiled after the first sound


if __name__ == "__main__":
    name, kind, shared = sys.argv[1:]
    print(checked(rate(name, kind, 1, spread=shared == "1"), name).samples_per_s)
