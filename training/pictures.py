"""Pictures and sounds of a model at work: what a kit renders, and what the model plays.

Small palette PNGs, so that they can live in a repository. Draws with matplotlib's own canvas and
leaves its global state alone. Single-threaded.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ghostnote.inference.model_file import ModelFile
from ghostnote.kernels.packing import pack

from .evaluate import EvalOptions, Played, Progress, find_kits, play
from .pieces import Piece

AUDIO = npt.NDArray[np.float32]

SECONDS = 4.0
REST_SECONDS = 0.5
WINDOW_SECONDS = 0.03
COLUMN_SECONDS = 0.008
ROWS = 72  # of the spectrogram, spaced evenly in octaves
LOWEST_HZ = 40.0
RANGE_DB = 70.0
COLOURS = 40  # of the palette: few enough that a picture stays under 150 kB


def draw_pictures(
    model: ModelFile,
    corpus: Path,
    options: EvalOptions,
    folder: Path,
    progress: Progress | None = None,
) -> list[Path]:
    """Write `folder`/KIT.png and KIT.flac per kit of the model; return the pictures' paths.

    In the sound the truth comes first, then, after `REST_SECONDS`, what the model played.

    Raises
    ------
    GhostnoteError
        As `evaluate` does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kit, title, played in examples(model, corpus, options, progress):
        written.append(folder / f"{kit}.png")
        draw_piece(played, model.spec.samplerate, title, written[-1])
        rest = np.zeros(round(REST_SECONDS * model.spec.samplerate), np.float32)
        heard = np.concatenate([played.truth, rest, played.generated])
        soundfile.write(folder / f"{kit}.flac", heard, model.spec.samplerate, subtype="PCM_16")
    return written


def examples(
    model: ModelFile, corpus: Path, options: EvalOptions, progress: Progress | None = None
) -> Iterator[tuple[str, str, Played]]:
    """Yield (kit, title, what was played) of each kit of the model.

    All kits play the same `SECONDS` of the first groove that `options` chooses.
    """
    packed = pack(model.spec, model.weights, options.precision)
    kits, _ = find_kits(model, options.kits or corpus)
    pieces, _ = options.pieces(corpus)
    # The liveliest of the chosen grooves shows the most.
    liveliest = max(pieces, key=lambda p: len({r for t, r, _ in p.hits if t < SECONDS}))
    hits = tuple(hit for hit in liveliest.hits if hit[0] < SECONDS)
    for number, kit in enumerate(kits):
        played = play(packed, kit, Piece(liveliest.name, SECONDS, hits), options, stream=number)
        yield kit.name, f"{kit.name}, groove {liveliest.name}", played
        if progress:
            progress(f"picture {kit.name}", number + 1, len(kits))


def draw_piece(played: Played, samplerate: int, title: str, path: Path) -> None:
    """Draw one piece: wave and spectrogram of both, the asked hits marked, as a PNG."""
    figure = Figure(figsize=(9.0, 6.4), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(4, 1, sharex=True, height_ratios=(1, 2, 1, 2))
    figure.suptitle(title, fontsize=10)
    both = (("rendered truth", played.truth), ("played by the model", played.generated))
    for i, (name, audio) in enumerate(both):
        wave, picture = axes[2 * i], axes[2 * i + 1]
        _draw_wave(wave, audio, samplerate, name)
        _draw_spectrum(picture, audio, samplerate)
        for seconds, _, _ in played.hits:
            wave.axvline(seconds, color="tab:red", linewidth=0.5)
            picture.plot(seconds, 0.0, marker="^", color="tab:red", markersize=4, clip_on=False)
    _write_roles(axes[0], played)
    axes[-1].set_xlabel("seconds (red: a hit was asked)", fontsize=8)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    image = Image.fromarray(pixels).convert("RGB")
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def _draw_wave(axes: Axes, audio: AUDIO, samplerate: int, name: str) -> None:
    axes.plot(np.arange(len(audio)) / samplerate, audio, color="0.2", linewidth=0.4)
    axes.set_ylim(-1.0, 1.0)
    axes.set_xlim(0.0, len(audio) / samplerate)
    axes.set_ylabel(name, fontsize=8)
    axes.tick_params(labelsize=7)


def _draw_spectrum(axes: Axes, audio: AUDIO, samplerate: int) -> None:
    levels = log_spectrogram(audio, samplerate)
    axes.imshow(
        levels,
        aspect="auto",
        origin="lower",
        extent=(0.0, len(audio) / samplerate, 0.0, 1.0),
        cmap="magma",
        vmin=-RANGE_DB - 20.0,
        vmax=-20.0,
        interpolation="nearest",
    )
    octaves = np.log2(0.5 * samplerate / LOWEST_HZ)
    marks = [hz for hz in (50, 100, 200, 500, 1000, 2000, 5000, 10000) if hz < 0.5 * samplerate]
    axes.set_yticks([np.log2(hz / LOWEST_HZ) / octaves for hz in marks], [f"{hz}" for hz in marks])
    axes.set_ylabel("Hz", fontsize=8)
    axes.tick_params(labelsize=7)


def _write_roles(axes: Axes, played: Played) -> None:
    """Write the names of the roles above the picture, those of one moment over one another."""
    last, height = -1.0, 0
    for seconds, role, _ in played.hits:
        height = height + 1 if seconds - last < 0.1 else 0
        last = seconds
        axes.annotate(
            role,
            (seconds, 1.0),
            xytext=(0, 2 + 7 * (height % 3)),
            textcoords="offset points",
            fontsize=6,
            annotation_clip=False,
        )


def log_spectrogram(audio: AUDIO, samplerate: int) -> npt.NDArray[np.float64]:
    """Return levels in dBFS, float [ROWS, columns], rows from LOWEST_HZ up to half the rate."""
    size, step = round(WINDOW_SECONDS * samplerate), round(COLUMN_SECONDS * samplerate)
    padded = np.pad(audio, (size // 2, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(audio) : step]
    window = np.hanning(size)
    points = 4 * size  # so that the low rows have bins of their own
    power = np.abs(np.fft.rfft(frames * window, points)) ** 2 * (4.0 / window.sum() ** 2)
    edges = np.geomspace(LOWEST_HZ, 0.5 * samplerate, ROWS + 1) * points / samplerate
    starts = np.round(edges).astype(int)
    rows = [power[:, a : max(b, a + 1)].max(axis=1) for a, b in itertools.pairwise(starts)]
    return np.asarray(10.0 * np.log10(np.maximum(rows, 1e-12)))
