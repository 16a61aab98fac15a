"""The worker: one job after another, whatever one of them does."""

import threading

import pytest

from ghostnote.osc_server.worker import MAX_WAITING, Worker


def test_order() -> None:
    worker = Worker()
    done: list[int] = []
    for n in range(20):
        assert worker.submit(lambda n=n: done.append(n))  # type: ignore[misc]
    worker.stop()
    assert done == list(range(20))


def test_a_job_that_raises_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    done = threading.Event()
    worker.submit(lambda: 1 // 0)  # type: ignore[arg-type]
    worker.submit(done.set)
    assert done.wait(10)
    worker.stop()
    assert "ZeroDivisionError" in caplog.text


def test_bounded() -> None:
    worker = Worker()
    started, go = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        assert go.wait(10)

    worker.submit(hold)
    assert started.wait(10)
    assert all(worker.submit(lambda: None) for _ in range(MAX_WAITING))
    assert not worker.submit(lambda: None)
    go.set()
    worker.stop()
