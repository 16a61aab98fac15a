"""TrainConfig: every number of a training run, visible and checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from ghostnote.kernels import control
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.spec import LEVELS_16, MAX_WAVES, ModelSpec

from .dataset import Dataset


@dataclass(frozen=True)
class TrainConfig:
    """The settings of a run; a resumed run must have the same, but for `steps` and `minutes`.

    Those of the network itself (`residual` to `head`, `filter_width`, `levels`, `mixtures`,
    `emphasis`, `age_features`, `cond_hidden`, `body`, `body_knots`, `transient`) are told at
    `ModelSpec`; with mixtures there are 65536 levels, whatever `levels`.

    Parameters
    ----------
    cycles, cycle : int
        The dilations are 1, 2, 4, ... (`cycle` of them), `cycles` times.
    body_ms : float
        How long the waves of the body last, in milliseconds, if there is one.
    body_steps : int
        Steps in which the body is taught before the training (`body.py`), if there is one; the
        transients take a quarter as many.
    transient_ms : float
        How long the waves of the transients last, in milliseconds, if there are any.
    steps : int
        Length of the run. The rate's fall is planned by it, so a run that is resumed with other
        `steps` is not the run that would have had them from the start.
    minutes : float
        Length of the run in minutes, where it is not 0: in place of `steps`, for machines that are
        lent by the minute. What was spent before a resume counts. As the rate's fall follows the
        clock, such a run cannot be repeated to the last bit.
    windows : int
        Training windows per step.
    window_hops : int
        Length of a window in hops; the receptive field of real past comes on top.
    learning_rate : float
        Peak of the optimizer's rate (`muon.py`); it warms up over `warmup` steps and falls to zero over the last
        `decay` share of `steps` or `minutes`.
    ema : float
        Decay of the running mean of the weights, which is what is validated and exported.
    drop_control : float
        Share of windows whose conditioning is dropped, so that the model can play texture too.
    input_noise : float
        Largest standard deviation of the noise that is added to a window's inputs (each window
        draws its own, from 0 to this), in steps of mu-law 256 for any head. The targets stay
        clean, so the network learns to pull a stream that has gone astray back to the drum
        instead of into hiss.
    drift : float
        Largest root mean square of slow noise that is added to a window's inputs before that, by
        the sound's own over 10 ms; every second time with noise of any level besides. The targets
        lead back from there (`astray.drifted`). What a stream that plays freely goes astray by is
        slow, which white noise is not: from it the network learns to take a low tone's course from
        the hit that began it, and to end what nobody asked for.
    clean : float
        Share of windows that get neither.
    onset_weight : float
        How much more than the rest the first 10 ms of a hit count in the loss. The moment in
        which a hit leaves silence is one sample in ten thousand, yet every live stroke begins
        with it; unweighted, a network that has learnt the rest still stays silent.
    silence_weight : float
        How much more than the rest silence counts, once it has lasted for 10 ms. It costs few
        bits, but what a model does in it is heard: each leak may grow into a stroke nobody asked
        for.
    near_hits : float
        Share of windows that are placed at a hit, the others lie anywhere.
    """

    residual: int = 32
    gate: int = 32
    skip: int = 64
    head: int = 128
    filter_width: int = 2
    cycles: int = 2
    cycle: int = 10
    levels: int = 256
    mixtures: int = 0
    emphasis: float = 0.0
    age_features: int = 15
    cond_hidden: tuple[int, ...] = (128, 64)
    body: int = 0
    body_knots: int = 4
    body_ms: float = 1200.0
    body_steps: int = 6000
    transient: int = 0
    transient_ms: float = 300.0
    steps: int = 6000
    minutes: float = 0.0
    windows: int = 2
    window_hops: int = 500
    learning_rate: float = 2e-3
    warmup: int = 100
    decay: float = 0.4
    ema: float = 0.998
    drop_control: float = 0.06
    input_noise: float = 2.0
    drift: float = 0.0
    clean: float = 0.4
    onset_weight: float = 15.0
    silence_weight: float = 3.0
    near_hits: float = 0.75
    seed: int = 1

    def __post_init__(self) -> None:
        for name, low, high in (
            ("steps", 1, 10**9),
            ("minutes", 0.0, 10**6),
            ("windows", 1, 4096),
            ("window_hops", 1, 10**6),
            ("cycles", 1, 64),
            ("cycle", 1, 16),
            ("age_features", 1, control.AGE_FEATURES),
            ("body", 0, MAX_WAVES),
            ("body_ms", 1.0, 10_000.0),
            ("body_steps", 0, 10**6),
            ("transient", 0, MAX_WAVES),
            ("transient_ms", 1.0, 10_000.0),
            ("learning_rate", 0.0, 1.0),
            ("warmup", 0, 10**9),
            ("decay", 0.0, 1.0),
            ("ema", 0.0, 0.999999),
            ("drop_control", 0.0, 1.0),
            ("input_noise", 0.0, 64.0),
            ("drift", 0.0, 10.0),
            ("clean", 0.0, 1.0),
            ("onset_weight", 0.0, 1000.0),
            ("silence_weight", 0.0, 1000.0),
            ("near_hits", 0.0, 1.0),
            ("seed", 0, 2**63 - 1),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise GhostnoteError(f"training: {name} must be {low} to {high}, found {value}")
        if self.mixtures and self.levels not in (TrainConfig.levels, LEVELS_16):
            raise GhostnoteError(
                f"training: levels {self.levels} are of the softmax head, mixtures speak 16 bit; "
                "give one of the two"
            )

    def spec(self, dataset: Dataset) -> ModelSpec:
        """Return the model that fits a dataset under these settings.

        Raises
        ------
        GhostnoteError
            If a setting is impossible, or there is to be a body and the dataset has no hits.
        """
        roles, kits = dataset.roles, dataset.kits
        if self.body and not roles:
            raise GhostnoteError("--body: the dataset has no hits to tell it from; leave it out")
        # Four seconds: longer than the tail of any hit but the last of a long cymbal.
        ages = 4 * dataset.samplerate // max(dataset.hop, 1) if roles else 0
        lasting, transient_lasting = (
            min(round(ms * 1e-3 * dataset.samplerate / max(dataset.hop, 1)), ages - 1)
            for ms in (self.body_ms, self.transient_ms)
        )
        return ModelSpec(
            samplerate=dataset.samplerate,
            hop=dataset.hop,
            dilations=tuple(2**i for i in range(self.cycle)) * self.cycles,
            filter_width=self.filter_width,
            residual=self.residual,
            gate=self.gate,
            skip=self.skip,
            head=self.head,
            levels=LEVELS_16 if self.mixtures else self.levels,
            mixtures=self.mixtures,
            emphasis=self.emphasis,
            roles=roles,
            kits=kits,
            ages=ages,
            age_features=self.age_features if roles else 0,
            cond_hidden=self.cond_hidden if roles or kits else (),
            chokes=dataset.chokes,
            body=self.body,
            body_knots=self.body_knots if self.body else 0,
            body_ages=lasting if self.body else 0,
            transient=self.transient,
            transient_ages=transient_lasting if self.transient else 0,
        )

    def share(self, step: int, seconds: float) -> float:
        """Return the share of the plan that is done after so many steps and seconds."""
        return seconds / (60.0 * self.minutes) if self.minutes else step / self.steps

    def rate(self, step: int, seconds: float = 0.0) -> float:
        """Return the learning rate of a step (counted from 0), begun after so many seconds."""
        up = min(1.0, (step + 1) / max(self.warmup, 1))
        if self.minutes:
            left = max(1.0 - self.share(step, seconds), 0.0)
            down = min(1.0, left / max(self.decay, 1e-9))
        else:
            down = min(1.0, (self.steps - step) / max(self.decay * self.steps, 1.0))
        return self.learning_rate * up * down

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON-ready values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: object) -> TrainConfig:
        """Build a config from `to_json`'s form; fields that are missing get their defaults.

        Raises
        ------
        GhostnoteError
            If a field is unknown or out of its range.
        """
        if not isinstance(values, dict):
            raise GhostnoteError("training: the settings in the checkpoint are no object")
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise GhostnoteError(f"training: unknown setting {unknown[0]!r} in the checkpoint")
        return cls(**{**values, "cond_hidden": tuple(values.get("cond_hidden", ()))})
