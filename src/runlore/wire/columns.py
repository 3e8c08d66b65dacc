"""Names of the columns that hold the values of metrics in a table."""

from collections.abc import Collection, Iterable

from runlore.core.metric import Kind

_METRIC = "metric:"


def apart(key: str, own: Collection[str]) -> str:
    """Name a metric's column apart from the table's own columns and from all other metrics.

    One that is called as an own column, or so behind any number of `metric:`, gets one more.
    """
    bare = key
    while bare.startswith(_METRIC):
        bare = bare.removeprefix(_METRIC)
    return f"{_METRIC}{key}" if bare in own else key


def column_names(cells: Iterable[tuple[str, Kind]], own: Collection[str]) -> list[str]:
    """Name one column per key and kind.

    A key of one kind gives its name; of several, the numbers have it and the others stand beside
    them as `name:bool` and `name:string`.
    """
    cells = list(cells)
    kinds: dict[str, set[Kind]] = {}
    for key, kind in cells:
        kinds.setdefault(key, set()).add(kind)
    names = []
    taken = {apart(key, own) for key in kinds} | set(own)
    for key, kind in cells:
        name = apart(key, own)
        if kind != "number" and len(kinds[key]) > 1:
            name = f"{name}:{kind}"
            while name in taken:
                name += f":{kind}"
            taken.add(name)
        names.append(name)
    return names
