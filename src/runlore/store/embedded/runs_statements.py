"""The statements that the start of a run, its end and a noting execute, each built once.

To build one takes longer than SQLite needs for it, and one that is executed again remembers
under what SQLAlchemy has cached its SQL. An insert or update writes each column that a parameter
has the name of, so names of other parameters begin with `of_`.
"""

import sqlalchemy as sa

from runlore.store.embedded.runs_tables import (
    documents,
    keys,
    noted,
    projects,
    runs,
    tombstones,
    values,
)


def _one_of(name: str) -> sa.BindParameter[list[object]]:
    return sa.bindparam(name, expanding=True)


_OF_PROJECT = sa.and_(
    projects.c.owner == sa.bindparam("of_owner"), projects.c.name == sa.bindparam("of_name")
)
_HAS_DOCUMENT = sa.and_(documents.c.project == runs.c.project, documents.c.number == runs.c.number)
_HAS_NOTED = sa.and_(noted.c.project == runs.c.project, noted.c.number == runs.c.number)
_OF_VALUE = sa.and_(values.c.key == sa.bindparam("of_key"), values.c.run == sa.bindparam("of_run"))

PROJECT_ID = sa.select(projects.c.id).where(_OF_PROJECT)
ADD_PROJECT = sa.insert(projects).returning(projects.c.id)
NEXT_NUMBER = (
    sa.update(projects)
    .where(_OF_PROJECT)
    .values(last_number=projects.c.last_number + 1)
    .returning(projects.c.id, projects.c.last_number)
)

RUN = (
    sa.select(runs.c.number, documents.c.document)
    .join_from(projects, runs)
    .join(documents, _HAS_DOCUMENT)
    .where(_OF_PROJECT, runs.c.run_id == sa.bindparam("of_id"))
)
RUNS = (
    sa.select(runs.c.run_id, runs.c.project, runs.c.number, documents.c.document)
    .join_from(projects, runs)
    .join(documents, _HAS_DOCUMENT)
    .where(_OF_PROJECT, runs.c.run_id.in_(_one_of("of_ids")))
)
NUMBERED_RUNS = (
    sa.select(runs.c.run_id, runs.c.number, documents.c.document)
    .join_from(runs, documents, _HAS_DOCUMENT)
    .where(runs.c.project == sa.bindparam("of_project"), runs.c.number.in_(_one_of("of_numbers")))
)
DELETED_RUNS = sa.select(tombstones.c.run_id).where(
    tombstones.c.owner == sa.bindparam("of_owner"),
    tombstones.c.project == sa.bindparam("of_name"),
    tombstones.c.run_id.in_(_one_of("of_ids")),
)
ADD_RUNS = sa.insert(runs)
ADD_DOCUMENTS = sa.insert(documents)
WRITE_RUNS = sa.update(runs).where(
    runs.c.project == sa.bindparam("of_project"), runs.c.number == sa.bindparam("of_number")
)
WRITE_DOCUMENTS = sa.update(documents).where(
    documents.c.project == sa.bindparam("of_project"),
    documents.c.number == sa.bindparam("of_number"),
)

NOTED = sa.select(noted.c.number, noted.c.last_step, noted.c["values"], noted.c.bounds).where(
    noted.c.project == sa.bindparam("of_project"), noted.c.number.in_(_one_of("of_numbers"))
)
NOTED_VALUES = (
    sa.select(runs.c.run_id, noted.c.last_step, noted.c["values"])
    .join_from(projects, runs)
    .join(noted, _HAS_NOTED)
    .where(_OF_PROJECT, runs.c.run_id.in_(_one_of("of_ids")))
)
REPLACE_NOTED = sa.insert(noted).prefix_with("OR REPLACE")

KEY_IDS = sa.select(keys.c.source, keys.c.key, keys.c.id).where(
    keys.c.project == sa.bindparam("of_project"),
    keys.c.source.in_(_one_of("of_sources")),
    keys.c.key.in_(_one_of("of_keys")),
)
ADD_KEYS = sa.insert(keys)
COUNT_KEYS = (
    sa.update(keys)
    .where(keys.c.id == sa.bindparam("of_key"))
    .values(
        numbers=keys.c.numbers + sa.bindparam("of_numbers"),
        bools=keys.c.bools + sa.bindparam("of_bools"),
        texts=keys.c.texts + sa.bindparam("of_texts"),
    )
)
ADD_VALUES = sa.insert(values)
WRITE_VALUES = sa.update(values).where(_OF_VALUE)
REMOVE_VALUES = sa.delete(values).where(_OF_VALUE)
