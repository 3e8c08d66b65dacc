"""The types of the page are those that the server describes."""

import json
import re
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.e2e.conftest import Server

_SCHEMA = Path(__file__).parents[2] / "web/src/api/schema.ts"


@pytest.mark.parametrize("noun", ["Run", "RunList", "Project", "Projects", "Key", "Keys"])
def test_the_page_knows_every_field_of_a_noun(seeded: Server, noun: str) -> None:
    with urlopen(f"{seeded.url}/api/openapi.json", timeout=20) as answer:
        described = json.load(answer)["components"]["schemas"][noun]["properties"]

    block = re.search(rf"\n {{8}}{noun}: {{\n(.*?)\n {{8}}}};", _SCHEMA.read_text(), re.DOTALL)
    assert block is not None, f"schema.ts has no {noun}; run 'npm run types' in web/"
    known = re.findall(r"^ {12}(\w+)\??:", block[1], re.MULTILINE)

    assert sorted(known) == sorted(described), "run 'npm run types' in web/"
