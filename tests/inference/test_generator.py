"""Generator: hits at their time and in their order, in pieces as in one."""

from typing import Any

import numpy as np
import pytest

from ghostnote.inference.device import Device
from ghostnote.inference.generator import Generator, Hit, Lanes, Take
from ghostnote.inference.spread import Spread
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.state import State
from tests.inference.devices import breaking_device
from tests.kernels.models import FLOATS, model, same_bits

IT = model("odd, width 3, out of order")
HOP = IT.spec.hop


def by_hand(hits: dict[int, list[tuple[str, float]]], samples: int = 400) -> FLOATS:
    """Returns what a stream plays that is struck by hop, in the order of the lists."""
    state = State(IT.packed, 3)
    out = np.zeros(samples, np.float32)
    for first in range(0, samples, HOP):
        for role, velocity in hits.get(first // HOP, []):
            state.hit(IT.spec.roles.index(role), velocity)
        state.generate(out[first : first + HOP])
    return out


def test_a_hit_starts_at_the_first_hop_at_or_after_its_sample() -> None:
    generator = Generator(IT.packed, 3)
    generator.add([Hit(2 * HOP, "kick", 0.5), Hit(4 * HOP + 1, "hat", 1.0), Hit(0, "open", 0.3)])
    expected = by_hand({0: [("open", 0.3)], 2: [("kick", 0.5)], 5: [("hat", 1.0)]})
    assert same_bits(generator.play(400), expected)


def test_hits_of_one_hop_strike_in_order_of_time_then_as_given() -> None:
    """The hat silences the open hat; struck after it, the open hat sounds all the same."""
    hat, opened = Hit(2 * HOP, "hat", 0.5), Hit(2 * HOP, "open", 0.8)
    hat_first = by_hand({2: [("hat", 0.5), ("open", 0.8)]})
    open_first = by_hand({2: [("open", 0.8), ("hat", 0.5)]})
    assert not same_bits(hat_first, open_first)
    for hits, expected in (
        ([[hat, opened]], hat_first),
        ([[opened, hat]], open_first),
        ([[hat], [opened]], hat_first),
        ([[opened], [hat._replace(sample=2 * HOP - 1)]], hat_first),
    ):
        generator = Generator(IT.packed, 3)
        for part in hits:
            generator.add(part)
        assert same_bits(generator.play(400), expected)


def test_pieces_and_hits_added_late() -> None:
    whole = Generator(IT.packed, 3)
    whole.add([Hit(20, "kick", 0.5), Hit(200, "hat", 1.0)])
    generator = Generator(IT.packed, 3)
    generator.add([Hit(20, "kick", 0.5)])
    parts = [generator.play(n) for n in (0, 1, 150, 40)]
    generator.add([Hit(200, "hat", 1.0)])
    parts.append(generator.play(209))
    assert same_bits(np.concatenate(parts), whole.play(400))


def test_lanes_are_generators_side_by_side() -> None:
    """Each with its seed, stream, kit, sampling and hits, whole and in pieces."""
    takes = [
        Take(3, 0, None, 1.0, 0),
        Take(3, 5, [0.0, 1.0], 0.8, 0),
        Take(2**40, 0, [0.5, 0.5], 1.0, 7),
    ]
    hits = [[Hit(20, "kick", 0.5), Hit(200, "hat", 1.0)], [], [Hit(20, "open", 0.9)]]
    lanes, pieces = Lanes(IT.packed, takes), Lanes(IT.packed, takes)
    for lane, mine in enumerate(hits):
        lanes.add(mine, lane)
        pieces.add(mine, lane)
    found = lanes.play(400)
    assert same_bits(np.concatenate([pieces.play(n) for n in (1, 0, 150, 249)], axis=1), found)
    for lane, (take, mine) in enumerate(zip(takes, hits, strict=True)):
        alone = Generator(IT.packed, *take)
        alone.add(mine)
        assert same_bits(alone.play(400), found[lane])
    assert len({take.tobytes() for take in found}) == 3


@pytest.mark.parametrize(
    ("hit", "message"),
    [
        (Hit(0, "cowbell", 0.5), "no role 'cowbell'; it has kick, hat, open"),
        (Hit(0, "kick", 0.0), "velocity must be above 0, up to 1"),
        (Hit(0, "kick", float("nan")), "velocity must be above 0, up to 1"),
    ],
)
def test_a_hit_that_cannot_be_is_refused(hit: Hit, message: str) -> None:
    with pytest.raises(GhostnoteError, match=message):
        Generator(IT.packed).add([hit])


def test_the_hits_of_many_lanes_are_sorted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's thousand lanes bring a hundred thousand hits."""
    sorts: list[int] = []

    def counted(items: list[tuple[Hit, int]], key: Any) -> list[tuple[Hit, int]]:
        sorts.append(len(items))
        return sorted(items, key=key)

    monkeypatch.setattr("ghostnote.inference.generator.sorted", counted, raising=False)
    lanes = Lanes(IT.packed, [Take(seed) for seed in range(5)])
    for lane in range(5):
        lanes.add([Hit(at, "kick", 1.0) for at in (70, 30)], lane)
    lanes.play(1)
    lanes.play(1)
    assert sorts == [10]


TAKES = [
    Take(3, 0, None, 1.0, 0),
    Take(3, 5, [0.0, 1.0], 0.8, 0),
    Take(2**40, 0, [0.5, 0.5], 1.0, 7),
]
HITS = [
    [Hit(20, "kick", 0.5), Hit(200, "hat", 1.0), Hit(900, "open", 0.2), Hit(1999, "kick", 1.0)],
    [Hit(t, "hat", 0.9) for t in range(3, 2000, 11)],
    [Hit(20, "open", 0.9), Hit(1400, "open", 0.9), Hit(1402, "hat", 0.9)],
]


def lanes_of(name: str, precision: str, device: Device | None) -> Lanes:
    """Returns lanes of a model, each under hits of its own."""
    it = model(name, precision)
    kits = len(it.spec.kits)
    takes = [take._replace(kit=take.kit and [*take.kit, 0.0][:kits]) for take in TAKES]
    lanes = Lanes(it.packed, takes, device)
    for lane, hits in enumerate(HITS):
        lanes.add(hits if it.spec.roles else [], lane)
    return lanes


# Opening, the first hop, within a hop, past the reach of the model, and each kind of call.
@pytest.mark.parametrize("calls", [0, 1, 2, 10, 11, 140, 141, 240, 241])
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("odd, width 3, out of order", "fp32"),  # it has a body, which a GPU tells in fp32 only
        ("mixture of 10", "fp32"),
        ("mixture of 10", "int8"),
    ],
)
def test_a_device_that_is_lost(
    name: str, precision: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU goes on to the same bits, wherever it happens, and it is told once."""
    it = model(name, precision)
    device, told = breaking_device(it, calls, monkeypatch)
    lanes = lanes_of(name, precision, device)
    found = np.concatenate([lanes.play(n) for n in (1, 500, 3, 1, 995, 500)], axis=1)
    assert same_bits(found, lanes_of(name, precision, None).play(2000))
    assert told == ["the GPU is lost (CUDA error: no more); the CPU goes on from the same sample"]
    assert isinstance(lanes.state, Spread)
    assert isinstance(lanes_of(name, precision, device).state, Spread), "not opened again"
    assert len(told) == 1


def test_what_is_no_loss_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    device, told = breaking_device(IT, 3, monkeypatch, KeyError("ours"))
    with pytest.raises(KeyError, match="ours"):
        lanes_of("odd, width 3, out of order", "fp32", device).play(400)
    device, told = breaking_device(IT, 3, monkeypatch, GhostnoteError("ours"))
    with pytest.raises(GhostnoteError, match="ours"):
        lanes_of("odd, width 3, out of order", "fp32", device).play(400)
    assert told == []


def test_little_is_kept_of_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a device plays for hours is not held in memory."""
    device, _ = breaking_device(IT, 10**9, monkeypatch)
    lanes = lanes_of("odd, width 3, out of order", "fp32", device)
    for _ in range(40):
        lanes.play(500)
    kept = sum(part.shape[1] for part in lanes._past._parts)
    assert lanes._past.reach <= kept <= lanes._past.reach + 500
    assert len(lanes._past.struck) <= kept
