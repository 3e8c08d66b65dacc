"""The embedded store keeps the contract of metric history, and answers as the naive one does."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from runlore.store.embedded.metrics import EmbeddedMetricStore
from runlore.store.metrics import MetricStore, SpoolPiece, Stored
from runlore.testing.metric_restarts import (
    MetricStoreAgainstReference,
    MetricStoreContract,
    MetricStoreDurability,
)


def settle(store: MetricStore) -> None:
    assert isinstance(store, EmbeddedMetricStore)
    store.settle()


class TestEmbeddedMetricStore(
    MetricStoreContract, MetricStoreDurability, MetricStoreAgainstReference
):
    after_calls = (settle,)

    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], MetricStore]:
        return lambda: EmbeddedMetricStore(tmp_path / "metrics")


class PackedMetricStore(EmbeddedMetricStore):
    """One that packs all before `append` returns."""

    def append(self, pieces: Sequence[SpoolPiece]) -> list[Stored | Exception]:
        answers = super().append(pieces)
        self.settle()
        return answers


class TestPackedMetricStore(MetricStoreContract, MetricStoreDurability):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Callable[[], MetricStore]:
        return lambda: PackedMetricStore(tmp_path / "metrics")
