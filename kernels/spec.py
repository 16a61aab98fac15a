"""ModelSpec: what a ghostnote WaveNet is, as plain numbers that refuse nonsense.

Immutable; may be shared between threads.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from .errors import GhostnoteError

ROLES = ("kick", "snare", "rim", "clap", "tom", "hat", "open", "crash", "ride")
"""The drum roles of the bundled models, in the order of every per-role array."""

DEFAULT_TEMPERATURE = 0.85
"""Temperature of rendering and live playing where none is asked for.

Below 1, so that a level that the network holds for nearly impossible is not drawn every few
seconds: 24,000 draws a second find every crumb of probability. docs/sound.md has the comparison.
"""

ATTACK_SECONDS = 0.01
"""For so long after a hit levels may be drawn at a temperature of their own."""

LEAST_ATTACK = 1.0
"""That temperature, at least, wherever people listen: as trained.

To leave silence is one unlikely level. Below 1 it becomes unlikelier still, and hits go missing; what
keeps a tail from going astray need not touch them.
"""

MAX_LAYERS = 128
MAX_CHANNELS = 1024
MAX_LEVELS = 1024
LEVELS_16 = 65536  # of 16 bit, which the mixture head speaks
MAX_MIXTURES = 32
LEAST_LOG_SCALE = -14.0
"""A logistic is never narrower: at e^-14 it lies within one level of 16 bit almost surely."""

MAX_EMPHASIS = 0.98
MAX_DILATION = 65536
MAX_WAVES = 64
MAX_NAMES = 64
MAX_LIST = 4096  # entries of a list in a file, before anything else is looked at
MAX_FIELD = 256 * 1024
"""Receptive field in samples: 5 s at 48 kHz. A runtime must play all of it before a stream starts."""

MAX_PAST = 32 * 1024 * 1024
"""Past inputs of all layers that a stream may hold, in numbers: 128 MB of float32."""

VECTOR = 16
"""Channels lie in whole vectors of so many: `lanes.LANES`, which takes long to import."""


@dataclass(frozen=True)
class ModelSpec:
    """The shape of one model: everything needed to size its weights and its state.

    The network is the WaveNet of van den Oord et al. 2016 (arXiv 1609.03499, section 2):
    a causal first layer, gated residual layers with skips, and a two-layer head: a softmax over
    mu-law levels, or a mixture of logistics over 16 bit (PixelCNN++, Salimans et al. 2017, arXiv
    1701.05517). Conditioning is held for one `hop` and enters each gate as a bias (section 2.5).

    Parameters
    ----------
    samplerate : int
        Samples per second (Hz) that the model speaks.
    hop : int
        Control period in samples; triggers start at a multiple of it.
    dilations : tuple of int
        Dilation of each layer in samples, first layer first; any order.
    filter_width : int
        Taps of each dilated layer, 2 or 3.
    residual, gate, skip, head : int
        Channels of the residual path, of one half of the gate, of the skip sum and of the
        hidden layer of the head.
    levels : int
        Levels of input and output: 2 to 1024 of mu-law, or the 65536 of 16 bit.
    mixtures : int
        0: a softmax over mu-law levels. 1 to 32: as many logistics over 16 bit.
    emphasis : float
        Levels speak of e[n] = x[n] - emphasis * x[n - 1], x the sound (pre-emphasis; LPCNet, Valin
        & Skoglund 2019, arXiv 1810.11846, section 3.2), 0 to 0.98: the noise of the levels is then
        softest where drums are, and hiss where they mask it.
    input_taps : int
        How many past samples the causal first layer sees.
    roles, kits : tuple of str
        Names; both empty means an unconditional model.
    ages : int
        Rows of the age table: hits older than `ages - 1` hops are forgotten.
    age_features : int
        Columns of the age table (features of the time since a hit).
    cond_hidden : tuple of int
        Widths of the dense layers between the conditioning features and the layers' biases.
    chokes : tuple of (str, str)
        Pairs (by, what): a hit of role `by` silences role `what`.
    body : int
        Waves of each role of which the body of the sound is mixed (`kernels/body.py`), what hits alone
        determine of it; the WaveNet plays what lies above. 0: it plays all.
    body_knots, body_ages : int
        Knots of these waves in a hop, and how many hops they last.
    transient, transient_ages : int
        Waves of each role of which the transients are mixed, at every sample, and how many hops they
        last. They need a body; 0: the WaveNet plays them.

    Raises
    ------
    GhostnoteError
        If a value is impossible; the message names the field.
    """

    samplerate: int
    hop: int
    dilations: tuple[int, ...]
    filter_width: int = 2
    residual: int = 32
    gate: int = 32
    skip: int = 64
    head: int = 128
    levels: int = 256
    mixtures: int = 0
    emphasis: float = 0.0
    input_taps: int = 2
    roles: tuple[str, ...] = ()
    kits: tuple[str, ...] = ()
    ages: int = 0
    age_features: int = 0
    cond_hidden: tuple[int, ...] = ()
    chokes: tuple[tuple[str, str], ...] = ()
    body: int = 0
    body_knots: int = 0
    body_ages: int = 0
    transient: int = 0
    transient_ages: int = 0

    def __post_init__(self) -> None:
        for name in ("dilations", "roles", "kits", "cond_hidden", "chokes"):
            if not isinstance(getattr(self, name), tuple):
                raise GhostnoteError(f"model spec: {name} must be a tuple")
        _check_range("samplerate", self.samplerate, 1000, 384000)
        _check_range("hop", self.hop, 1, 4096)
        _check_range("dilations (their number)", len(self.dilations), 1, MAX_LAYERS)
        for dilation in self.dilations:
            _check_range("dilations", dilation, 1, MAX_DILATION)
        _check_range("filter_width", self.filter_width, 2, 3)
        for name in ("residual", "gate", "skip", "head"):
            _check_range(name, getattr(self, name), 1, MAX_CHANNELS)
        reach = (self.filter_width - 1) * sum(self.dilations)
        if reach > MAX_FIELD:
            raise GhostnoteError(
                f"model spec: dilations reach too far back: {reach} samples, "
                f"at most {MAX_FIELD} are supported"
            )
        past = reach * -(-self.residual // VECTOR) * VECTOR
        if past > MAX_PAST:
            raise GhostnoteError(
                f"model spec: dilations reach too far back for {self.residual} residual channels: "
                f"a stream would hold {past} numbers, at most {MAX_PAST} are supported"
            )
        _check_range("mixtures", self.mixtures, 0, MAX_MIXTURES)
        if not self.mixtures:
            _check_range("levels", self.levels, 2, MAX_LEVELS)
        elif self.levels != LEVELS_16:
            raise GhostnoteError(
                f"model spec: levels must be {LEVELS_16} with mixtures, found {self.levels!r}"
            )
        if not _is_number(self.emphasis) or not 0.0 <= self.emphasis <= MAX_EMPHASIS:
            raise GhostnoteError(
                f"model spec: emphasis must be 0 to {MAX_EMPHASIS}, found {self.emphasis!r}"
            )
        _check_range("input_taps", self.input_taps, 1, 8)
        for name in ("roles", "kits"):
            names = getattr(self, name)
            _check_range(f"{name} (their number)", len(names), 0, MAX_NAMES)
            if len(set(names)) != len(names):
                raise GhostnoteError(f"model spec: {name} holds a name twice: {list(names)}")
            for one in names:
                if not isinstance(one, str) or not 1 <= len(one) <= 64 or not one.isprintable():
                    raise GhostnoteError(f"model spec: {name} holds an unusable name: {one!r}")
        if self.roles:
            _check_range("ages", self.ages, 2, 65536)
            _check_range("age_features", self.age_features, 1, 64)
        elif self.ages or self.age_features:
            raise GhostnoteError("model spec: ages and age_features need roles; set them to 0")
        if self.conditioning:
            _check_range("cond_hidden (layers)", len(self.cond_hidden), 1, 4)
            for width in self.cond_hidden:
                _check_range("cond_hidden", width, 1, MAX_CHANNELS)
        elif self.cond_hidden:
            raise GhostnoteError("model spec: cond_hidden needs roles or kits; leave it empty")
        _check_range("body", self.body, 0, MAX_WAVES)
        if self.body:
            if not self.roles:
                raise GhostnoteError(
                    "model spec: body needs roles, whose hits tell it; set it to 0"
                )
            _check_range("body_knots", self.body_knots, 1, self.hop)
            if self.hop % self.body_knots:
                raise GhostnoteError(
                    f"model spec: body_knots must divide the hop of {self.hop}, found {self.body_knots}"
                )
            _check_range("body_ages", self.body_ages, 1, self.ages - 1)
        elif self.body_knots or self.body_ages:
            raise GhostnoteError("model spec: body_knots and body_ages need a body; set them to 0")
        _check_range("transient", self.transient, 0, MAX_WAVES)
        if self.transient:
            if not self.body:
                raise GhostnoteError("model spec: transient needs a body below it; set it to 0")
            _check_range("transient_ages", self.transient_ages, 1, self.ages - 1)
        elif self.transient_ages:
            raise GhostnoteError("model spec: transient_ages needs transient; set it to 0")
        for pair in self.chokes:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise GhostnoteError(f"model spec: chokes must hold pairs of roles, found {pair!r}")
            if pair[0] not in self.roles or pair[1] not in self.roles:
                raise GhostnoteError(f"model spec: chokes names an unknown role: {pair!r}")
            if pair[0] == pair[1]:
                raise GhostnoteError(f"model spec: chokes lets {pair[0]!r} silence itself")

    @property
    def layers(self) -> int:
        """Number of gated layers."""
        return len(self.dilations)

    @property
    def conditioning(self) -> int:
        """Number of conditioning features C; 0 means the plain WaveNet."""
        return 2 * self.age_features * len(self.roles) + len(self.kits)

    @property
    def receptive_field(self) -> int:
        """Number of past samples that one output depends on."""
        return (self.filter_width - 1) * sum(self.dilations) + self.input_taps

    @property
    def attack(self) -> int:
        """Number of hops for which a hit is fresh: 10 ms, or less if it is forgotten before."""
        hops = max(1, round(ATTACK_SECONDS * self.samplerate / self.hop))
        return min(hops, max(self.ages - 1, 0))

    @property
    def silence(self) -> int:
        """The level of silence, from which every stream starts."""
        return self.levels // 2

    @property
    def choices(self) -> int:
        """What a draw chooses among, and `top_k` counts: levels, or the mixture's components."""
        return self.mixtures or self.levels

    @property
    def outputs(self) -> int:
        """Numbers that the network puts out for a sample.

        A logit for each level; or, for each component of the mixture, a logit, then for each a
        mean, then for each a log-scale.
        """
        return 3 * self.mixtures or self.levels

    @property
    def body_span(self) -> int:
        """Samples between two knots of the body; without a body, those of a hop."""
        return self.hop // max(self.body_knots, 1)

    @property
    def choke_pairs(self) -> tuple[tuple[int, int], ...]:
        """`chokes` as role numbers."""
        return tuple((self.roles.index(by), self.roles.index(what)) for by, what in self.chokes)

    @property
    def macs_per_sample(self) -> int:
        """Multiply-accumulates per sample without the per-hop conditioning."""
        layers, gate = self.layers, self.gate
        total = layers * self.filter_width * self.residual * 2 * gate
        total += (layers - 1) * gate * self.residual + layers * gate * self.skip
        return total + self.skip * self.head + self.head * self.outputs

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values; those that came later only where not 0."""
        values = asdict(self)
        for name in (
            "mixtures", "emphasis", "body", "body_knots", "body_ages", "transient", "transient_ages",
        ):  # fmt: skip
            if not values[name]:
                del values[name]  # so that a model without is the file that it always was
        return values

    @classmethod
    def from_json(cls, values: object) -> ModelSpec:
        """Build a spec from `to_json`'s form.

        Raises
        ------
        GhostnoteError
            If a field is missing, unknown or of the wrong type; the message names it.
        """
        if not isinstance(values, dict):
            raise GhostnoteError(f"model spec: expected an object, found {type(values).__name__}")
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise GhostnoteError(f"model spec: unknown field {unknown[0]!r}")
        for name in ("samplerate", "hop", "dilations"):
            if name not in values:
                raise GhostnoteError(f"model spec: field {name!r} is missing")
        clean: dict[str, Any] = {}
        for name, value in values.items():
            if name in ("roles", "kits"):
                clean[name] = tuple(_expect_list(name, value, str))
            elif name in ("dilations", "cond_hidden"):
                clean[name] = tuple(_expect_list(name, value, int))
            elif name == "chokes":
                pairs = _expect_list(name, value, list)
                if any(len(p) != 2 or not all(isinstance(r, str) for r in p) for p in pairs):
                    raise GhostnoteError("model spec: chokes must hold pairs of role names")
                clean[name] = tuple((p[0], p[1]) for p in pairs)
            elif name == "emphasis":
                clean[name] = value  # checked with the others' ranges
            else:
                if not isinstance(value, int) or isinstance(value, bool):
                    raise GhostnoteError(f"model spec: {name} must be a whole number: {value!r}")
                clean[name] = value
        return cls(**clean)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_range(field: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise GhostnoteError(f"model spec: {field} must be {low} to {high}, found {value!r}")


def _expect_list(field: str, value: object, kind: type) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise GhostnoteError(f"model spec: {field} must be a list, found {type(value).__name__}")
    if len(value) > MAX_LIST:
        raise GhostnoteError(f"model spec: {field} has {len(value)} entries, at most {MAX_LIST}")
    items = [list(v) if isinstance(v, tuple) else v for v in value]
    for item in items:
        if not isinstance(item, kind) or isinstance(item, bool):
            raise GhostnoteError(f"model spec: {field} must hold {kind.__name__}, found {item!r}")
    return items
