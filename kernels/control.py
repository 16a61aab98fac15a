"""From hits to control features: one function for training, rendering and live playing.

A control row holds for one hop. For each role it holds the features of the time since that
role's last hit (a row of the age table), once plain and once times the velocity, then the kit
weights. The age table is stored in the model file, so that every machine reads the same bits.

Everything here is compiled, allocates nothing and may run in any thread.
"""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from .spec import ModelSpec

FLOATS = npt.NDArray[np.float32]
INTS = npt.NDArray[np.int64]

ENVELOPES = (10.0, 80.0, 500.0)  # ms
TRIANGLES = 12
WAVES = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0)  # Hz: octaves, up to half of the hops' usual rate
WAVES_FADE = 300.0  # ms
AGE_FEATURES = len(ENVELOPES) + TRIANGLES + 2 * len(WAVES)
"""Columns that an age table can have."""


def age_table(spec: ModelSpec) -> FLOATS:
    """Return the features of a hit's age, shape [ages, age_features]; `AGE_FEATURES` at most.

    Column 0 to 2 are exponential envelopes of 10, 80 and 500 ms. The next 12 are triangles over
    log2(1 + age in ms), centred at 0, 1, 3, 7, ... ms: they name the age finely while it is
    small, so that a network can learn the very samples that follow a hit. From column 15 on come
    sine and cosine of the age at 8 to 256 Hz, which fade with 300 ms (Fourier features, Tancik et
    al. 2020, arXiv 2006.10739, section 4): they tell where in its course a low tone is, which else
    only the past samples know, and drawn samples forget it. The last row is zero: a hit so old is
    forgotten.

    >>> spec = ModelSpec(24000, 24, (1,), roles=("kick",), ages=4096, age_features=15,
    ...                  cond_hidden=(8,))
    >>> age_table(spec)[0, :5].tolist()
    [1.0, 1.0, 1.0, 1.0, 0.0]
    """
    milliseconds = np.arange(spec.ages) * (1000.0 * spec.hop / spec.samplerate)
    columns = [np.exp(-milliseconds / tau) for tau in ENVELOPES]
    octave = np.log2(1.0 + milliseconds)
    columns += [np.maximum(0.0, 1.0 - np.abs(octave - i)) for i in range(TRIANGLES)]
    fade = np.exp(-milliseconds / WAVES_FADE)
    for hertz in WAVES:
        angle = 2e-3 * np.pi * hertz * milliseconds
        columns += [fade * np.sin(angle), fade * np.cos(angle)]
    table = np.stack(columns[: spec.age_features], axis=1)
    table[-1] = 0.0
    return table.astype(np.float32)


def choke_array(spec: ModelSpec) -> INTS:
    """Return the choke pairs as an array [pairs, 2] of role numbers (by, what)."""
    return np.array(spec.choke_pairs, np.int64).reshape(-1, 2)


@nb.njit(cache=True, nogil=True)
def strike(
    ages: INTS, velocities: FLOATS, chokes: INTS, forgotten: int, role: int, velocity: float
) -> None:
    """Note a hit in `ages` [roles] (hops) and `velocities` [roles], choking what it chokes."""
    ages[role] = 0
    velocities[role] = velocity
    for i in range(chokes.shape[0]):
        if chokes[i, 0] == role:
            ages[chokes[i, 1]] = forgotten


@nb.njit(cache=True, nogil=True)
def grow_older(ages: INTS, forgotten: int) -> None:
    """Let one hop pass: every age [roles] grows by one, up to `forgotten`."""
    for role in range(ages.shape[0]):
        if ages[role] < forgotten:
            ages[role] += 1


@nb.njit(cache=True, nogil=True)
def youngest(ages: INTS, most: int) -> int:
    """Return the least of some ages [roles] (hops), `most` where all are more."""
    for role in range(ages.shape[0]):
        most = min(most, ages[role])
    return most


@nb.njit(cache=True, nogil=True)
def control_row(ages: INTS, velocities: FLOATS, kits: FLOATS, table: FLOATS, row: FLOATS) -> None:
    """Write the control features of one hop into `row` [2 * F * roles + kits]."""
    features = table.shape[1]
    at = 0
    for role in range(ages.shape[0]):
        age = ages[role]
        velocity = velocities[role]
        for i in range(features):
            row[at + i] = table[age, i]
            row[at + features + i] = table[age, i] * velocity
        at += 2 * features
    for kit in range(kits.shape[0]):
        row[at + kit] = kits[kit]


@nb.njit(cache=True, nogil=True)
def ages_of_hits(
    hits: npt.NDArray[np.float64], hops: int, roles: int, chokes: INTS, forgotten: int
) -> tuple[INTS, FLOATS]:
    """Return ages [hops, roles] and velocities [hops, roles] of a list of hits.

    `hits` [n, 3] holds (hop, role, velocity) in order of hop.
    """
    ages = np.full((hops, roles), forgotten, np.int64)
    velocities = np.zeros((hops, roles), np.float32)
    age = np.full(roles, forgotten, np.int64)
    velocity = np.zeros(roles, np.float32)
    at = 0
    for hop in range(hops):
        while at < hits.shape[0] and hits[at, 0] <= hop:
            strike(age, velocity, chokes, forgotten, int(hits[at, 1]), hits[at, 2])
            at += 1
        ages[hop] = age
        velocities[hop] = velocity
        grow_older(age, forgotten)
    return ages, velocities


@nb.njit(cache=True, nogil=True)
def control_rows(ages: INTS, velocities: FLOATS, kits: FLOATS, table: FLOATS) -> FLOATS:
    """Return the control features [hops, C] of ages, velocities [hops, roles], kits [hops, K]."""
    hops, roles = ages.shape
    rows = np.empty((hops, 2 * table.shape[1] * roles + kits.shape[1]), np.float32)
    for hop in range(hops):
        control_row(ages[hop], velocities[hop], kits[hop], table, rows[hop])
    return rows
