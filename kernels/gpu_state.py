"""GpuState: streams of one model on a GPU, with the methods of `state.State`.

The past (rings, levels) lies on the device; settings, hits and ages lie here and go over when they
have changed. `from_cpu` and `to_cpu` carry a stream between the kernels at any sample. One thread
at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import triton

from . import gpu, gpu_carry, gpu_spread
from . import levels as amplitudes
from .asked import (
    check_beginning,
    check_drawn,
    check_hit,
    check_kit,
    check_sampling,
    check_seed,
    check_streams,
    count_of,
    rows_of,
)
from .body import with_body
from .control import choke_array, strike
from .emphasis import deemphasise
from .errors import GhostnoteError
from .gpu_model import (
    HISTORY,
    GpuPacked,
    Options,
    Shape,
    Spread,
    card_of,
    options_of,
    pack_gpu,
    ring_slots,
    shape_of,
    spread_of,
)
from .high_pass import high_pass
from .packing import KNOT, Packed, pack
from .spec import ModelSpec
from .state import State
from .weights import Weights

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

MAX_STREAMS = 65536
MOST = 4096
"""Samples of one launch."""

BIASES = 64 * 1024 * 1024
"""Numbers that the gates' biases of the hops of one launch may take, if it is more than one: 256 MB, five
hops of the bundled model in 10,000 streams."""


@dataclass(frozen=True)
class GpuSnapshot:
    """A GPU state's contents, taken out; `GpuState.restore` puts them back."""

    spec: ModelSpec
    precision: str
    index: int
    settings: tuple[npt.NDArray[np.generic], ...]
    past: tuple[torch.Tensor, ...]


def interpreted() -> bool:
    """Tell whether the kernels run in Triton's interpreter, on the CPU."""
    return not isinstance(gpu.play, triton.JITFunction)


class GpuState:
    """Streams of a model on a GPU: their past, their hits, their random numbers.

    Parameters
    ----------
    spec : ModelSpec
    weights : Weights or GpuPacked
        A `GpuPacked` is shared with other states; its precision and device hold.
    precision : str
        One of `gpu_model.PRECISIONS`.
    device : str
        As torch names it; under TRITON_INTERPRET=1 always "cpu".
    seed, stream, streams : int
        As of `State`: lane i draws the numbers of stream `stream` + i.
    spread : bool
        Share the layers out among programs (`gpu_spread.py`) rather than the streams: 16 at most.

    Attributes
    ----------
    packed : GpuPacked
    lanes : int
        Number of streams; `padded` to whole tiles, which play silence of their own.
    shape, options : Shape, Options
        What the kernel is compiled for, and how.
    rings, history : tensors
        [slots, padded, R] and int32 [HISTORY, padded]; `gpu_layers` tells which slot is which sample.
    bias : tensor
        Gates' biases of the hop that was begun last, [padded, L, 2, D]; without conditioning of one
        stream for all.
    chance, top_k, temperature, attack, ages, velocities, kits, sound, fresh, knots, transients, high
        Arrays on the host: seeds, streams, offsets [3, padded], settings and hits of each stream, its
        WaveNet's own last sample, whether a hit is fresh in the present hop, where the body is as that
        hop begins and at its knots, [padded, 1 + knots, 2], the hop's transients [padded, hop, or 0
        without], and the past of the filter beside the body [padded, 2].

    Raises
    ------
    GhostnoteError
        If a value is impossible, or by every method as `State`'s do.
    """

    def __init__(
        self,
        spec: ModelSpec,
        weights: Weights | GpuPacked,
        precision: str = "fp32",
        device: str = "cuda",
        seed: int = 0,
        stream: int = 0,
        streams: int = 1,
        spread: bool = False,
    ) -> None:
        check_streams(streams, MAX_STREAMS, stream)
        if not isinstance(weights, GpuPacked):
            weights = pack_gpu(spec, weights, precision, "cpu" if interpreted() else device)
        self.packed = weights
        self.lanes = streams
        self._index = 0
        at = self.packed.device
        card = card_of(at)
        self.shape: Shape = shape_of(
            spec,
            self.packed.precision,
            streams,
            wide=interpreted() or self.packed.precision == "fp32",
            **card._asdict(),
        )._replace(one_bias=not spec.conditioning)
        self.options: Options = options_of(self.shape, self.packed.precision)
        self.spread: Spread | None = None
        if spread:
            self.spread = spread_of(self.shape, self.packed.precision, card.programs)
            if self.spread is None or streams > self.spread.shape.tile:
                raise GhostnoteError(
                    f"{streams} streams of this model cannot be spread: too many of them, or of its "
                    "weights for what the GPU has beside its memory; take the tile kernel"
                )
            self.options = Options(8, 1)
            self._words = torch.zeros(self.spread.words, dtype=torch.int64, device=at)
        self.padded = -(-streams // self.shape.tile) * self.shape.tile
        self.chance = np.zeros((3, self.padded), np.int64)  # seeds, streams, offsets
        self.top_k = np.zeros(self.padded, np.int32)
        self.temperature = np.ones(self.padded, np.float32)
        self.attack = np.ones(self.padded, np.float32)
        self.fresh = np.zeros(self.padded, np.bool_)
        self.ages = np.zeros((self.padded, len(spec.roles)), np.int64)
        self.velocities = np.zeros((self.padded, len(spec.roles)), np.float32)
        self.kits = np.zeros((self.padded, len(spec.kits)), np.float32)
        self.sound = np.zeros(self.padded, np.float32)
        self.knots = np.zeros((self.padded, 1 + spec.body_knots, KNOT), np.float32)
        self.transients = np.zeros((self.padded, spec.hop if spec.transient else 0), np.float32)
        self.high = np.zeros((self.padded, 2), np.float32)
        self._high_pass = high_pass(spec)
        self._chokes = choke_array(spec)
        self.chance[1, :streams] = stream + np.arange(streams)
        self.rings = torch.zeros(
            (self.packed.slots, self.padded, self.packed.residual),
            dtype=self.packed.matrices.dtype,
            device=at,
        )
        self.history = torch.zeros((HISTORY, self.padded), dtype=torch.int32, device=at)
        self.bias = self.packed.filter_bias[None]
        self._sent: tuple[torch.Tensor, ...] | None = None
        self.seed(seed)
        if spec.kits:
            self.set_kit([1.0] + [0.0] * (len(spec.kits) - 1))
        self.reset()

    @property
    def index(self) -> int:
        """Number of samples generated since the last reset."""
        return self._index

    def reset(self) -> None:
        """Start again from silence under the present kit, with the same random numbers.

        Every ring is filled with the layer's input after endless silence, one row for all its slots.
        """
        spec = self.packed.spec
        self._index = 0
        self.chance[2] = 0
        self.ages[:] = max(spec.ages - 1, 0)
        self.velocities[:] = 0.0
        self.sound[:] = 0.0
        self.knots[:] = self.transients[:] = self.high[:] = 0.0
        self.history.fill_(spec.silence)
        self._sent = None
        self.bias = self._biases(1)[0]
        shape, packed = self.shape, self.packed
        matrices, floats = packed.matrices.float(), packed.floats
        layers, r, d = shape.layers, shape.residual, shape.gate
        filters = matrices[: shape.residual_at].view(layers, shape.width, r, d, 2)
        residuals = matrices[shape.residual_at : shape.skip_at].view(layers, d, r)
        biases = floats[shape.residual_bias_at : shape.skip_bias_at].view(layers, r)
        x = floats[shape.input_bias_at : shape.residual_bias_at].expand(self.padded, r)
        if not spec.mixtures:  # silence is 0 to a mixture
            table = floats[: shape.input_bias_at].view(spec.input_taps, spec.levels, r)
            x = x + table[:, spec.silence].sum(dim=0)
        at = 0
        for layer, slots in enumerate(ring_slots(spec)):
            heard = x.to(self.rings.dtype)
            self.rings[at : at + slots] = heard
            at += slots
            powers = torch.exp2(
                self.bias[:, layer]
                + torch.einsum("br,rdk->bkd", heard.float(), filters[layer].sum(dim=0))
            )
            e, f = powers.clamp(2.0**-40, 2.0**80).unbind(dim=1)
            e = e.clamp(max=2.0**40)
            z = (1.0 - e) / ((1.0 + e) * (1.0 + f))
            x = x + z.to(self.rings.dtype).float() @ residuals[layer] + biases[layer]

    def begin_at(self, index: int) -> None:
        """Count the next sample as number `index`, a hop boundary; its chances are that sample's."""
        check_beginning(self.packed.spec, index)
        # A slot is an index under a mask, so the past moves along.
        by, at = index - self._index, 0
        self.history = self.history.roll(by, dims=0)
        for slots in ring_slots(self.packed.spec):
            self.rings[at : at + slots] = self.rings[at : at + slots].roll(by, dims=0)
            at += slots
        self._index = index

    def seed(self, seed: int, lane: int | None = None, stream: int | None = None) -> None:
        """Choose the random numbers (0 to 2^63 - 1), and of these another stream if one is given."""
        check_seed(seed, stream)
        rows = rows_of(lane, self.lanes)
        self.chance[0, rows] = seed
        if stream is not None:
            self.chance[1, rows] = stream
        self._sent = None

    def set_sampling(
        self,
        temperature: float = 1.0,
        top_k: int = 0,
        lane: int | None = None,
        attack: float | None = None,
    ) -> None:
        """Choose how levels are drawn, as `State.set_sampling` does."""
        check_sampling(temperature, top_k, attack)
        rows = rows_of(lane, self.lanes)
        self.temperature[rows] = temperature
        self.attack[rows] = temperature if attack is None else attack
        self.top_k[rows] = min(top_k, self.packed.spec.choices)
        self._sent = None

    def set_kit(self, weights: Sequence[float], lane: int | None = None) -> None:
        """Set the kit weights [kits] from the next hop boundary on; all zero plays texture."""
        check_kit(self.packed.spec, weights)
        self.kits[rows_of(lane, self.lanes)] = weights

    def hit(self, role: int, velocity: float, lane: int | None = None) -> None:
        """Strike a role (number) with a velocity (0 to 1) at the next hop boundary."""
        spec = self.packed.spec
        check_hit(spec, role, velocity)
        for one in range(self.lanes)[rows_of(lane, self.lanes)]:
            ages, velocities = self.ages[one], self.velocities[one]
            strike(ages, velocities, self._chokes, spec.ages - 1, role, velocity)

    def generate(self, out: FLOATS, drawn: INTS | None = None) -> None:
        """Write the next samples into `out` float32 [n], or [streams, n], their levels into `drawn`."""
        if out.dtype != np.float32 or not out.flags.carray:
            raise GhostnoteError("generate: the output must be contiguous float32, and writable")
        rows = out.reshape(self.lanes, count_of(out.shape, self.lanes))
        if drawn is not None:
            check_drawn(drawn, out)
        done = 0
        while done < rows.shape[1]:
            count = self._launchable(rows.shape[1] - done)
            found = torch.full((self.lanes, count), torch.nan, device=self.packed.device)
            phase = self._index % self.packed.spec.hop
            told = self._launch(count, found, None, None)
            part = found.cpu().numpy()
            if drawn is not None:
                levels = drawn.reshape(rows.shape)
                levels[:, done : done + count] = amplitudes.encode(self.packed.spec, part)
            rows[:, done : done + count] = self._sound(part, *told, phase)
            done += count

    def teacher_force(self, levels: INTS) -> FLOATS:
        """Feed `levels` int64 [n] (or [streams, n]) as if they had been drawn.

        Returns what the network puts out for each, [n, O] (or [streams, n, O]), O as `spec.outputs`.
        """
        spec = self.packed.spec
        fed = np.ascontiguousarray(levels, np.int64)
        rows = fed.reshape(self.lanes, count_of(fed.shape, self.lanes))
        if fed.size and not (fed.min() >= 0 and fed.max() < spec.levels):
            raise GhostnoteError(f"teacher forcing: levels must be 0 to {spec.levels - 1}")
        outputs = np.full((*rows.shape, spec.outputs), np.nan, np.float32)
        done = 0
        while done < rows.shape[1]:
            count = self._launchable(rows.shape[1] - done)
            part = np.ascontiguousarray(rows[:, done : done + count], np.int32)
            forced = torch.from_numpy(part).to(self.packed.device)
            found = torch.full((*part.shape, spec.outputs), torch.nan, device=forced.device)
            self._launch(count, None, forced, found)
            outputs[:, done : done + count] = found.cpu().numpy()
            done += count
        if spec.emphasis:  # only the last sample is wanted
            deemphasise(spec, amplitudes.decode(spec, rows), self.sound)
        return outputs.reshape(*fed.shape, spec.outputs)

    def save(self) -> GpuSnapshot:
        """Take out a copy of the state."""
        return GpuSnapshot(
            self.packed.spec,
            self.packed.precision,
            self._index,
            tuple(array.copy() for array in self._settings()),
            (self.rings.clone(), self.history.clone(), self.bias.clone()),
        )

    def restore(self, snapshot: GpuSnapshot) -> None:
        """Put a state back that `save` took from one of the same model shape and streams."""
        ours = (self.packed.spec, self.packed.precision, self.rings.shape)
        if (snapshot.spec, snapshot.precision, snapshot.past[0].shape) != ours:
            raise GhostnoteError("state: the snapshot is of a model of another shape")
        self._index = snapshot.index
        for array, saved in zip(self._settings(), snapshot.settings, strict=True):
            array[:] = saved
        self.rings.copy_(snapshot.past[0])
        self.history.copy_(snapshot.past[1])
        self.bias = snapshot.past[2].to(self.packed.device, copy=True)
        self._sent = None

    def from_cpu(self, state: State) -> None:
        """Go on as a CPU state of the same model and as many lanes would."""
        gpu_carry.from_cpu(self, state)
        self._sent = None

    def to_cpu(self, packed: Packed | None = None) -> State:
        """Return a CPU state that goes on as this one would.

        `packed` is the model as the CPU plays it, in fp32 if it is not given.
        """
        return gpu_carry.to_cpu(self, packed or pack(self.packed.spec, self.packed.weights))

    def _settings(self) -> tuple[npt.NDArray[np.generic], ...]:
        return (
            self.chance, self.top_k, self.temperature, self.ages, self.velocities, self.kits,
            self.sound, self.attack, self.fresh, self.knots, self.transients, self.high,
        )  # fmt: skip

    def _launchable(self, left: int) -> int:
        """Return how many of `left` samples one launch makes: the rest of a hop, or whole hops."""
        spec = self.packed.spec
        if not spec.conditioning:
            return min(left, MOST)
        if phase := self._index % spec.hop:
            return min(left, spec.hop - phase)
        size = self.padded * self.packed.filter_bias.numel()
        return min(left, max(1, min(MOST // spec.hop, BIASES // size)) * spec.hop)

    def _launch(
        self,
        count: int,
        out: torch.Tensor | None,
        forced: torch.Tensor | None,
        outputs: torch.Tensor | None,
    ) -> tuple[FLOATS, FLOATS]:
        """Play one launch; return the body's knots [padded, 1 + spans, 2] in its hops, and transients.

        The latter [padded, samples of the hops]; of none without.
        """
        spec, packed, s = self.packed.spec, self.packed, self.shape
        bias, hop, fresh = self.bias[None], count, self.fresh[None]
        knots, transients = self.knots, self.transients
        if spec.conditioning and self._index % spec.hop == 0:
            hop = spec.hop
            hops = np.arange(-(-count // hop))
            if spec.roles:
                fresh = self.ages.min(axis=1) + hops[:, None] < spec.attack  # [hops, padded]
            if spec.body:
                told = self._tell("body", len(hops)).reshape(self.padded, -1, KNOT)
                knots = np.concatenate([self.knots[:, -1:], told], axis=1)
                self.knots = knots[:, -1 - spec.body_knots :].copy()
            if spec.transient:
                transients = self._tell("transient", len(hops))
                self.transients = transients[:, -hop:].copy()
            bias = self._biases(len(hops))
            self.bias, self.fresh = bias[-1], fresh[-1]
        temperatures = np.where(fresh, self.attack, self.temperature)
        if self._sent is None:
            arrays = (self.chance, self.top_k)
            self._sent = tuple(torch.from_numpy(a.copy()).to(packed.device) for a in arrays)
        arguments = (
            packed.matrices,
            packed.floats,
            packed.places,
            self.rings,
            self.history,
            *self._sent,
            torch.from_numpy(np.broadcast_to(temperatures, (len(bias), self.padded)).copy()).to(
                packed.device
            ),
            bias,
            out,
            forced,
            outputs,
            self._index,
            count,
            hop,
            bias.stride(0),
            bias.stride(2),
            bias.stride(1) if spec.conditioning else 0,
            self.lanes,
            self.padded,
        )
        last = (forced is not None, bool(self.top_k.any()))
        at = packed.device
        with torch.cuda.device(at) if at.type == "cuda" else contextlib.nullcontext():
            if self.spread is None:
                programs = self.padded // s.tile
                start(gpu.play, programs, self.options, *arguments, s, *last)
            else:
                self._words.zero_()
                held = (self.spread.shape, self.spread.group)
                programs = self.spread.programs
                start_spread(programs, self.options, self._words, *arguments, *held, *last)
        self._index += count
        return knots, transients

    def _sound(self, rows: FLOATS, knots: FLOATS, transients: FLOATS, phase: int) -> FLOATS:
        """Turn what one launch played [lanes, n] into sound, in place, from `phase` in its first hop."""
        spec = self.packed.spec
        deemphasise(spec, rows, self.sound)
        if spec.body:
            span = spec.body_span
            for row, kept, mine in zip(rows, self.high, knots, strict=False):
                with_body(row, self._high_pass, kept, mine[phase // span :], span, phase % span)
        if spec.transient:
            rows += transients[: len(rows), phase : phase + rows.shape[1]]
        return rows

    def _tell(self, name: str, hops: int) -> FLOATS:
        """Return what the waves of a name tell at the points of the next hops, [padded, hops * P]."""
        spec, cond, at = self.packed.spec, self.packed.cond, self.packed.device
        kits = torch.from_numpy(self.kits).to(at)[:, None].expand(-1, len(spec.roles), -1)
        velocities = torch.from_numpy(self.velocities).to(at)[..., None]
        asked = torch.cat([kits, velocities, velocities * kits], dim=-1)  # [B, roles, 2 kits + 1]
        hidden = torch.einsum("brf,ruf->bru", asked, cond[f"{name}_gain0_weight"])
        hidden = torch.relu(hidden + cond[f"{name}_gain0_bias"])
        gains = torch.einsum("bru,rku->brk", hidden, cond[f"{name}_gain1_weight"]) * velocities
        ages = torch.from_numpy(self.ages).to(at) + torch.arange(hops, device=at)[:, None, None]
        waves = cond[f"{name}_wave"].flatten(start_dim=3)  # [roles, ages, K, P]
        lasting = waves.shape[1]
        roles = torch.arange(len(spec.roles), device=at)
        found = waves[roles, ages.clamp(max=lasting - 1)]  # [hops, B, roles, K, P]
        gains = gains * (ages < lasting)[..., None]  # [hops, B, roles, K]
        told = torch.einsum("hbrk,hbrkp->bhp", gains, found)
        return told.reshape(self.padded, -1).cpu().numpy()

    def _biases(self, hops: int) -> torch.Tensor:
        """Return the gates' biases of the next hops, [hops, padded, L, 2, D], and grow ages by these.

        Without conditioning [hops, 1, L, 2, D], the same for all.
        """
        spec, packed = self.packed.spec, self.packed
        if not spec.conditioning:
            return packed.filter_bias.expand(hops, 1, *packed.filter_bias.shape)
        at, rows = packed.device, []
        if spec.roles:
            ages = torch.from_numpy(self.ages).to(at) + torch.arange(hops, device=at)[:, None, None]
            features = packed.cond["age_table"][
                ages.clamp(max=spec.ages - 1)
            ]  # [hops, B, roles, F]
            loud = features * torch.from_numpy(self.velocities).to(at)[..., None]
            rows.append(torch.cat([features, loud], dim=-1).flatten(start_dim=2))
            np.minimum(self.ages + hops, spec.ages - 1, out=self.ages)
        rows.append(torch.from_numpy(self.kits).to(at).expand(hops, -1, -1))
        hidden = torch.cat(rows, dim=-1)
        for i in range(len(spec.cond_hidden)):
            weight, bias = packed.cond[f"cond_weight.{i}"], packed.cond[f"cond_bias.{i}"]
            hidden = torch.relu(hidden @ weight.T + bias)
        out = packed.cond["cond_out_weight"]  # [E, L, 2, D]
        biases = hidden @ out.flatten(start_dim=1)
        biases += packed.filter_bias.flatten()  # in place: of thousands of streams they are large
        return biases.view(hops, self.padded, *packed.filter_bias.shape)


def start(kernel: Any, programs: int, options: Options, *arguments: Any, **how: Any) -> None:
    """Launch a kernel."""
    kernel[(programs,)](*arguments, **options._asdict(), enable_fp_fusion=True, **how)


def start_spread(programs: int, options: Options, *arguments: Any) -> None:
    """Launch the spread kernel, all programs at once or not at all.

    Raises
    ------
    GhostnoteError
        In the interpreter, where programs run one after the other: the first would wait for ever.
    """
    if interpreted():
        raise GhostnoteError("the spread kernel needs a CUDA device; take the tile kernel")
    start(gpu_spread.play_spread, programs, options, 0, *arguments, launch_cooperative_grid=True)
