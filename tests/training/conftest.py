"""The small corpus and what is prepared from it, made once for all tests of this folder."""

from pathlib import Path

import pytest

from ghostnote.training.dataset import Dataset
from ghostnote.training.prepare import prepare_grooves
from tests.training import small_corpus


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
