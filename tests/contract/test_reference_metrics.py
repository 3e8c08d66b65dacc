"""The naive store in memory keeps the contract that it measures others against."""

from collections.abc import Callable

import pytest

from runlore.store.metrics import MetricStore
from runlore.testing.metric_restarts import MetricStoreContract
from runlore.testing.metrics import ReferenceMetricStore


class TestReferenceMetricStore(MetricStoreContract):
    @pytest.fixture
    def open_store(self) -> Callable[[], MetricStore]:
        return ReferenceMetricStore
