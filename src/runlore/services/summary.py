"""The summary of a run: one value per key, as its definitions ask for."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from heapq import nsmallest

from runlore.core.json import JsonObject, JsonValue
from runlore.core.metric import Kind, Value, kind_of
from runlore.core.run import RunRef
from runlore.store.metrics import KeySummary, MetricStore
from runlore.store.run_entries import MAX_ENTRIES

MAX_SUMMARY = MAX_ENTRIES
"""No more metrics of a run are noted and shown in lists than are indexed."""


def summarise(
    keys: Sequence[KeySummary],
    definitions: Sequence[JsonObject],
    by_hand: Mapping[str, JsonValue],
    *,
    mean: Callable[[str], float],
) -> JsonObject:
    """Return the last value of each key, or what its definition asks for.

    A definition that asks for several, such as `min,max`, gives `key.min` and `key.max`. What
    was logged under such a name wins, and what the user set by hand wins over all. Of a key with
    values of several kinds, the kind logged at the greatest step counts. `mean` is asked only
    for keys that are defined so. Of very many metrics the first by name stand for all.
    """
    summary: JsonObject = {}
    several: JsonObject = {}
    for name, key in newest_kinds(keys).items():
        definition = definition_of(name, definitions)
        how = definition.get("summary")
        if definition.get("hidden") is True or how == "none":
            continue
        goal = definition.get("goal")
        if isinstance(how, str) and "," in how:
            several.update(
                {f"{name}.{one}": _value(key, one, goal, mean) for one in how.split(",")}
            )
        else:
            summary[name] = _value(key, how, goal, mean)
    found = {**several, **summary}
    if len(found) > MAX_SUMMARY:
        found = {name: found[name] for name in nsmallest(MAX_SUMMARY, found)}
    return {**found, **by_hand}


def first_keys(metrics: MetricStore, run: RunRef) -> tuple[list[KeySummary], int | None]:
    """Return as many keys of a run as are noted, the first by name, and its last step.

    Of several kinds of a key that were logged last at the same step, the latest stands first.
    """
    keys = latest_first(metrics, run, metrics.keys(run, limit=MAX_SUMMARY))
    if len(keys) >= MAX_SUMMARY:
        return keys, metrics.last_step(run)
    return keys, max((key.last_step for key in keys), default=None)


def latest_first(
    metrics: MetricStore, run: RunRef, keys: Sequence[KeySummary]
) -> list[KeySummary]:
    """Put, of several kinds of a key whose last step is the same, the one logged last first."""
    ties: dict[int, list[str]] = {}
    for (key, step), kinds in Counter((key.key, key.last_step) for key in keys).items():
        if kinds > 1:
            ties.setdefault(step, []).append(key)
    latest: dict[str, Kind] = {}
    for step, tied in ties.items():
        for row in metrics.rows(run, keys=tied, start=step, stop=step + 1):
            latest.update((key, kind_of(value)) for key, value in row.values.items())
    return sorted(keys, key=lambda key: latest.get(key.key, key.kind) != key.kind)


def newest_kinds(keys: Sequence[KeySummary]) -> dict[str, KeySummary]:
    """Return by name, of each key, the kind logged at the greatest step, the first of several."""
    newest: dict[str, KeySummary] = {}
    for key in keys:
        known = newest.get(key.key)
        if known is None or key.last_step > known.last_step:
            newest[key.key] = key
    return newest


def definition_of(key: str, definitions: Sequence[JsonObject]) -> JsonObject:
    """Return what is defined for a key: by its own name, else by the latest fitting glob."""
    found: JsonObject = {}
    for definition in definitions:
        metric = definition.get("metric")
        if metric == key:
            return definition
        if isinstance(metric, str) and metric.endswith("*") and key.startswith(metric[:-1]):
            found = definition
    return found


def _value(
    key: KeySummary, how: JsonValue, goal: JsonValue, mean: Callable[[str], float]
) -> Value:
    if key.minimum is None or key.maximum is None:
        return key.last
    if how == "best":
        how = "max" if goal == "maximize" else "min"
    if how == "min":
        return key.minimum
    if how == "max":
        return key.maximum
    if how == "mean":
        average = mean(key.key)
        return key.last if math.isnan(average) else average
    return key.last
