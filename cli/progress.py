"""A progress bar for commands whose work tells (what, done, total)."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Shows a bar on stderr while the body runs, if that is a terminal; yields what moves it.

    Ctrl-C raises KeyboardInterrupt at the next move; a second one at once. Raised just anywhere it
    may fall into a destructor, where Python drops it and the work goes on. Main thread only.
    """
    interrupted = False

    def note(number: int, frame: object) -> None:
        nonlocal interrupted
        if interrupted:
            raise KeyboardInterrupt
        interrupted = True

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("starting", total=None)

        def tell(what: str, done: int, total: int) -> None:
            if interrupted:
                raise KeyboardInterrupt
            bar.update(task, description=what, completed=done, total=total)

        before = signal.signal(signal.SIGINT, note)
        try:
            yield tell
        finally:
            signal.signal(signal.SIGINT, before)
