"""The memory of the banks: made for a model when a voice needs it, freed when none plays it.

Threads: one at a time (the engine's lock); beside it the engine's loop plays the banks that it has
heard of. A bank's row is written before the command that brings it; it is Python's again when all
the commands that brought it have been seen and no voice plays it.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from ghostnote.kernels import cpu
from ghostnote.kernels import packing as p
from ghostnote.kernels.errors import GhostnoteError
from ghostnote.kernels.packing import Packed
from ghostnote.kernels.spec import ROLES
from ghostnote.kernels.state import State

from .desk import ARRIVED, Core, Floats
from .gpu_bank import Gpu, Resident
from .gpu_run import run_posted_address


@dataclass(slots=True)
class _Memory:
    """What a bank's row points to."""

    packed: Packed
    states: tuple[State, State]
    fresh: State
    out: Floats  # [lanes, hop]
    resident: Resident | None  # on the GPU that plays it
    brought: int = 0  # commands that were submitted


def next_free(last: int, count: int, taken: Container[int]) -> int | None:
    """Return the first of `count` numbers after the last used that is free; None: none is.

    The session log tells of a number before the command that uses it. Were one that is just free
    used again, its two lines could come before both of their commands.
    """
    ahead = ((last + 1 + n) % count for n in range(count))
    return next((number for number in ahead if number not in taken), None)


class Banks:
    """All banks of an engine, each with room for `lanes` voices in hops of `hop` samples.

    With a GPU, that plays the models whose rings hold floats: those not packed in int8.
    """

    def __init__(self, core: Core, lanes: int, hop: int, gpu: Gpu | None = None) -> None:
        self._core, self._lanes, self._hop, self._gpu = core, lanes, hop, gpu
        self._memory: dict[int, _Memory] = {}
        self._last = -1

    def bring(self, packed: Packed) -> int:
        """Return the bank of a model, for one command more that will lead a voice to it.

        Raises
        ------
        GhostnoteError
            If there are as many models as fit.
        """
        self._free_unused()
        number = self._like(packed)
        if number is None:
            number = self._make(packed)
        self._memory[number].brought += 1
        return number

    def take_back(self, number: int) -> None:
        """Note that the command for which a bank was brought was not submitted."""
        self._memory[number].brought -= 1

    def header_like(self, packed: Packed) -> int | None:
        """Return the address by which the bank of a model knows it; None: there is none."""
        number = self._like(packed)
        return None if number is None else int(self._core.banks[number]["header"])

    def _like(self, packed: Packed) -> int | None:
        """Return the bank of an equal model: loaded twice it still shares its lanes."""
        for number, memory in self._memory.items():
            known = memory.packed
            if known is packed or (
                known.spec == packed.spec
                and np.array_equal(known.header, packed.header)
                and np.array_equal(known.weights, packed.weights)
            ):
                return number
        return None

    def _free_unused(self) -> None:
        core = self._core
        users = int(core.desk[0]["users"])
        for number in list(self._memory):
            seen = int(core.shared[ARRIVED + number])  # before its users, which it may have made
            if seen == self._memory[number].brought and core.shared[users + number] == 0:
                memory = self._memory.pop(number)
                if self._gpu and memory.resident:
                    self._gpu.leave(memory.resident)

    def _make(self, packed: Packed) -> int:
        core = self._core
        number = next_free(self._last, len(core.banks), self._memory)
        if number is None:
            raise GhostnoteError("model: too many models at once; try again in a second")
        self._last = number
        states = State(packed, streams=self._lanes), State(packed, streams=self._lanes)
        out = np.zeros((self._lanes, self._hop), np.float32)
        resident = None
        if self._gpu and packed.precision != "int8":
            resident = self._gpu.open(packed, self._lanes)
        memory = _Memory(packed, states, State(packed), out, resident)
        memory.brought = int(core.shared[ARRIVED + number])
        spec, header, row = packed.spec, packed.header, core.banks[number]
        row["header"], row["weights"] = header.ctypes.data, packed.weights.ctypes.data
        row["ints"] = [state.ints.ctypes.data for state in states]
        row["floats"] = [state.floats.ctypes.data for state in states]
        row["fresh_ints"] = memory.fresh.ints.ctypes.data
        row["fresh_floats"] = memory.fresh.floats.ctypes.data
        row["out"], row["which"], row["count"] = out.ctypes.data, 0, 0
        row["run"] = run_posted_address() if resident else cpu.entry_points().run
        row["box"] = resident.box.ctypes.data if resident else 0
        row["settings"], row["settings_size"] = header[p.S_SETTINGS], header[p.SETTINGS]
        row["lanes_at"], row["lane_ints"] = header[p.I_LANES], header[p.LANE_INTS]
        row["kit_weights"] = p.T_VELOCITIES + len(spec.roles)
        row["kits"], row["has_roles"] = len(spec.kits), bool(spec.roles)
        row["roles"] = [spec.roles.index(r) if r in spec.roles else -1 for r in ROLES]
        self._memory[number] = memory
        return number
