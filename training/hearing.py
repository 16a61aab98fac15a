"""How a kit shows to the ear that judges: the band of each role, its lateness, its echoes.

Learnt from the kit's one-shots alone, never from what is judged. A `KitHearing` may be shared
between threads: at worst two of them work out the same entry of its cache.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ghostnote.inference.midi import Hit

from .kits import Kit
from .onsets import Band, BandLevels, Onset, band_levels, find_onsets, role_bands

AUDIO = npt.NDArray[np.float32]

CORE_ROLES = ("kick", "snare", "hat")
TYPICAL_VELOCITY = 0.8
TOLERANCE_SECONDS = 0.02
PEAK_SECONDS = 0.04  # a hit's level is its highest within this time
SHOT_SECONDS = 0.5
SOFTEST_DB = -30.0  # an onset must come this near to the role's typical hit
LOUDER_DB = 12.0  # an onset so much louder than a hit is not of its making ...
SOFTER_DB = 18.0  # ... and one so much softer is another hit, leaking into the band


class KitHearing:
    """How the roles of a kit show in each other's bands.

    Some one-shots swell for 25 ms before they are loud, some strike twice. So the detector hears
    each of them alone first: `late` is when (s) a role's onset comes after the trigger, in its
    band, and `echoes` are the further onsets, as (seconds, dBFS at the typical velocity).

    Parameters
    ----------
    kit : Kit
        At the samplerate of the sound that is to be judged.
    """

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        shots = {role: self._shot(role, TYPICAL_VELOCITY) for role in kit.layers}
        self.bands = role_bands(shots, kit.samplerate, CORE_ROLES)
        self._solos: dict[tuple[str, int], dict[Band, float]] = {}
        self.late = dict.fromkeys(kit.layers, 0.0)
        self.echoes: dict[str, dict[Band, list[tuple[float, float]]]] = {}
        least = {
            band: min(self.least_db(role) for role, own in self.bands.items() if own == band)
            for band in self.bands.values()
        }
        for role, shot in shots.items():
            heard = {
                band: find_onsets(levels, least[band]) for band, levels in self.hear(shot).items()
            }
            own = heard[self.bands[role]]
            if own and own[0].seconds <= 2 * TOLERANCE_SECONDS:
                self.late[role] = own[0].seconds
            self.echoes[role] = {
                band: [(onset.seconds, onset.level) for onset in onsets]
                for band, onsets in heard.items()
            }

    def least_db(self, role: str) -> float:
        """Return the level in dBFS under which nothing in a role's band counts as an onset."""
        return self.solo_db(role, TYPICAL_VELOCITY, role) + SOFTEST_DB

    def solo_db(self, role: str, velocity: float, shown_in: str) -> float:
        """Return the level in dBFS of one hit, alone, in the band of role `shown_in`."""
        key = (role, max(round(velocity * 40), 1))
        if key not in self._solos:
            levels = self.hear(self._shot(role, key[1] / 40))
            self._solos[key] = {b: found.peak_db(0.0, PEAK_SECONDS) for b, found in levels.items()}
        return self._solos[key][self.bands[shown_in]]

    def accounts_for(self, hit: Hit, onset: Onset, role: str) -> bool:
        """Tell whether a hit explains an onset in the band of `role`: when it is, and how loud."""
        asked, played, velocity = hit
        least = onset.level - LOUDER_DB
        solo = self.solo_db(played, velocity, role)
        if abs(onset.seconds - asked) <= TOLERANCE_SECONDS and solo >= least:
            return True
        softer = solo - self.solo_db(played, TYPICAL_VELOCITY, role)
        return any(
            abs(onset.seconds - asked - after) <= TOLERANCE_SECONDS and level + softer >= least
            for after, level in self.echoes[played][self.bands[role]]
        )

    def hear(self, audio: AUDIO) -> dict[Band, BandLevels]:
        """Return the levels of every band of the kit; roles may share one."""
        rate = self.kit.samplerate
        return {band: band_levels(audio, rate, band) for band in set(self.bands.values())}

    def _shot(self, role: str, velocity: float) -> AUDIO:
        return self.kit.render([(0, role, velocity)], int(SHOT_SECONDS * self.kit.samplerate))
