"""The small corpus and what is prepared from it, made once for all tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostnote.training.dataset import Dataset
from ghostnote.training.ears import Ears
from ghostnote.training.prepare import prepare_grooves
from tests.training import small_corpus, tiny_drums


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small corpus; not to be changed."""
    return small_corpus.write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def prepared(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset of both kits; not to be changed."""
    out = tmp_path_factory.mktemp("data") / "kits"
    return prepare_grooves(corpus, out, small_corpus.options())


@pytest.fixture(scope="session")
def hits(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Seconds of drills with both kits, to train on; not to be changed."""
    return small_corpus.hit_dataset(tmp_path_factory.mktemp("data") / "hits", corpus)


@pytest.fixture(scope="session", autouse=True)
def few_lessons() -> Iterator[None]:
    """Ears learn from little in these tests."""
    with tiny_drums.few_lessons():
        yield


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ears are kept, so that they are trained once for all tests of this folder."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def ears(cache: Path) -> Ears:
    """Ears that know the three sounds of `tiny_drums`."""
    return tiny_drums.tiny_ears(cache)
