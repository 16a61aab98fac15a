"""The windows of each step, drawn ahead of it by threads where what computes is a GPU.

A window depends on (seed, step, place in the batch) alone, so that a resumed run sees the same data
in the same order, whoever draws it and when. One thread takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np

from .config import TrainConfig
from .window import Window
from .windows import Windows

Batch = TypeVar("Batch")


class Draws(Generic[Batch]):
    """Batches by step, from `first` on, and the samples that each trains on.

    Parameters
    ----------
    prepare : callable
        Makes a batch of windows; runs where the windows are drawn.
    ahead : int
        Batches that are drawn before they are asked for, each by a thread; 0 draws when asked.
    """

    def __init__(
        self,
        config: TrainConfig,
        training: Windows,
        prepare: Callable[[Sequence[Window]], Batch],
        first: int,
        ahead: int,
    ) -> None:
        self._config, self._training, self._prepare = config, training, prepare
        self._pool = ThreadPoolExecutor(ahead) if ahead else None
        self._waiting: deque[Future[tuple[Batch, int]]] = deque()
        self._next = first
        for _ in range(ahead):
            self._order()

    def __enter__(self) -> Draws[Batch]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    def take(self, step: int) -> tuple[Batch, int]:
        """Return the batch of a step and its samples; steps follow one another."""
        if not self._pool:
            return self._draw(step)
        self._order()
        return self._waiting.popleft().result()

    def _order(self) -> None:
        assert self._pool
        self._waiting.append(self._pool.submit(self._draw, self._next))
        self._next += 1

    def _draw(self, step: int) -> tuple[Batch, int]:
        config = self._config
        windows = [
            self._training.draw(
                np.random.default_rng([config.seed, step, place]),
                near_hits=config.near_hits,
                drop_control=config.drop_control,
                input_noise=config.input_noise,
                drift=config.drift,
                clean=config.clean,
                onset_weight=config.onset_weight,
                silence_weight=config.silence_weight,
            )
            for place in range(config.windows)
        ]
        samples = sum(len(window.targets) - window.context for window in windows)
        return self._prepare(windows), samples
