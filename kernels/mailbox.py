"""How a hop goes to a kernel that stays on a GPU, and how its samples come back: one mailbox.

The engine's loop must not launch kernels: a launch is Python's. So a kernel stays on the GPU
(`gpu_live.py`), and both sides look at memory that they share: pinned pages of the host, which the
GPU reads and writes over the bus. The host writes what a hop needs, then the hop's number, SEQ. The
GPU plays the hop and writes its levels, then the same number to `done`: one word a program. So the
mailbox is the GPU's from the post until all of `done` is SEQ, and the host's at all other times.

The past of the lanes is kept on both sides. The GPU has rings of its own, and writes each row of a
hop to the `journal` too, whose rings have room for one hop more than the layer reaches back. If a
hop never comes, the rows before it are all there and whole: the CPU goes on from them.
A lane of the host's state has a *slot* there for as long as the GPU holds its past. A lane that is
new, or that was brought to another past, has none; it is given one, its rows are written to the
journal, and the GPU takes them in from there before it plays the hop. Slots stay where they are when
lanes are laid out anew.

This file is the layout alone: plain values, any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from . import packing as p

TILE = 16
"""Lanes that one program of the kernel plays: the least that a tensor core multiplies at once."""

# Words of `post`. The host writes SEQ last; END, which ends the kernel, at any time. Both have a
# cache line of their own. NOW numbers the hop's first sample, for the rings alone: row n of a layer
# lies at n modulo the size of its ring. It begins so high that no ring begins before 0.
SEQ, END, LANES, NOW, LANE = 0, 8, 16, 17, 18
BEGINNING = 1 << 40
# From LANE on there are, for each lane, these words and the last levels, oldest first. TAKE is 1 where
# the GPU must take the lane's past in from the journal. The temperature is in `floats`.
SLOT, TAKE, SEED, STREAM, INDEX, TOP_K, HISTORY = range(7)


class Mailbox(NamedTuple):
    """The memory that both sides see. S slots, L layers, R channels, G of a half of a gate."""

    post: npt.NDArray[np.int64]  # [LANE + S * (HISTORY + taps)], host to GPU
    floats: npt.NDArray[np.float32]  # temperatures [S], then gate biases [S, L, 2, G]; host to GPU
    journal: npt.NDArray[np.float32]  # for each layer [its size, S, R]; both ways
    levels: npt.NDArray[np.int64]  # [S, hop], GPU to host
    done: npt.NDArray[np.int64]  # [programs], GPU to host


@dataclass(frozen=True)
class Layout:
    """The sizes of a model's mailbox with room for `slots` lanes."""

    slots: int
    hop: int
    taps: int
    residual: int  # padded as in the host's state
    gate: int  # padded as on the GPU
    sizes: tuple[int, ...]  # rows of each layer's ring: as far as it reaches back, and a hop

    @classmethod
    def of(cls, packed: p.Packed, slots: int) -> Self:
        """Return the layout for a model whose rings hold floats: one not packed in int8."""
        spec, header = packed.spec, packed.header
        return cls(
            slots,
            spec.hop,
            spec.input_taps,
            int(header[p.RESIDUAL]),
            max(16, 1 << (spec.gate - 1).bit_length()),
            tuple((spec.filter_width - 1) * dilation + spec.hop for dilation in spec.dilations),
        )

    @property
    def programs(self) -> int:
        """Programs of a launch: one for TILE lanes."""
        return -(-self.slots // TILE)

    @property
    def lane_words(self) -> int:
        """Words of a lane in `post`."""
        return HISTORY + self.taps

    def make(self, zeros: Callable[[int, Any], Any]) -> Mailbox:
        """Return a mailbox of arrays that `zeros` makes, of a length and a type.

        It begins with an empty hop posted: a kernel that has answered it is there.
        """
        box = Mailbox(
            zeros(LANE + self.slots * self.lane_words, np.int64),
            zeros(self.slots * (1 + len(self.sizes) * 2 * self.gate), np.float32),
            zeros(sum(self.sizes) * self.slots * self.residual, np.float32),
            zeros(self.slots * self.hop, np.int64),
            zeros(self.programs, np.int64),
        )
        box.post[SEQ], box.post[NOW] = 1, BEGINNING
        return box
