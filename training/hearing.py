"""How a kit shows to the ears that judge: which hits can be heard at all, how loud, from when on.

Learnt from the kit's one-shots alone, never from what is judged. A `KitHearing` may be shared
between threads: at worst two of them work out the same entry of its cache.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .audibility import beginning
from .ears import TOLERANCE_SECONDS, Ears, candidates_of
from .kits import Kit
from .timing import Attack, attack_of

FLOATS = npt.NDArray[np.float32]
AUDIO = npt.NDArray[np.float32]

TYPICAL_VELOCITY = 0.8
LEAD_SECONDS, SHOT_SECONDS = 0.1, 0.5
STEPS = 40  # of velocity, that are told apart


@dataclass(frozen=True)
class Solo:
    """One hit alone: mean squares of bands [B] of its beginning, and how it attacks."""

    power: FLOATS
    attack: Attack


class KitHearing:
    """How the roles of a kit show.

    Some one-shots swell for 25 ms before they are loud; so the ears hear each of them alone first:
    `late` is when (s) a role's onset comes after the trigger. Some strike twice: `echoes` are the
    times (s) after the trigger at which the ears hear the role once more. `twins` are the roles that a kit
    plays with the same sample: nobody can tell them apart, so one is as good as the other.

    Parameters
    ----------
    kit : Kit
        At the hearing rate.
    ears : Ears
    """

    def __init__(self, kit: Kit, ears: Ears) -> None:
        self.kit, self.ears = kit, ears
        self._solos: dict[tuple[str, int], Solo] = {}
        files = {role: {y.file for y in layers} for role, layers in kit.layers.items()}
        self.twins = {role: {o for o in files if files[o] & files[role]} for role in files}
        self.late: dict[str, float] = {}
        self.echoes: dict[str, list[float]] = {}
        for role in files:
            self.late[role], self.echoes[role] = self._alone(role)

    def solo(self, role: str, velocity: float) -> Solo:
        """Return one hit alone."""
        key = (role, max(round(velocity * STEPS), 1))
        if key not in self._solos:
            shot = self._shot(role, key[1] / STEPS)
            self._solos[key] = Solo(
                beginning(shot, 0.0, self.ears.rate), attack_of(shot, self.ears.rate)
            )
        return self._solos[key]

    def due(self, role: str, seconds: float) -> list[float]:
        """Return when (s) a hit is to be heard: once, or again where its one-shot strikes again."""
        return [seconds + self.late[role], *(seconds + echo for echo in self.echoes[role])]

    def _alone(self, role: str) -> tuple[float, list[float]]:
        lead = np.zeros(round(LEAD_SECONDS * self.ears.rate), np.float32)
        shot = np.concatenate([lead, self._shot(role, TYPICAL_VELOCITY)])
        found = [t - LEAD_SECONDS for t in candidates_of(shot, self.ears.rate)]
        found = [t for t in found if -TOLERANCE_SECONDS <= t <= 2.0 * TOLERANCE_SECONDS]
        late = max(found[0], 0.0) if found else 0.0
        again = [t - LEAD_SECONDS for t in self.ears.hear(shot)[role]]
        return late, [t for t in again if t > late + TOLERANCE_SECONDS]

    def _shot(self, role: str, velocity: float) -> AUDIO:
        return self.kit.render([(0, role, velocity)], round(SHOT_SECONDS * self.kit.samplerate))
