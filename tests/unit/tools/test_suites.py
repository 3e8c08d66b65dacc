"""The sum that `./dev test` prints is that of the reports."""

import json
from pathlib import Path

from tools.suites import Tally, read_junit, read_vitest


def test_errors_count_as_failures_and_skips_apart(tmp_path: Path) -> None:
    report = tmp_path / "r.xml"
    report.write_text(
        '<testsuites><testsuite tests="10" failures="2" errors="1" skipped="3"/></testsuites>'
    )
    assert read_junit(report) == Tally(passed=4, failed=3, skipped=3)


def test_a_report_that_is_missing_is_a_failure(tmp_path: Path) -> None:
    assert read_junit(tmp_path / "none.xml").failed == 1
    assert read_vitest(tmp_path / "none.json").failed == 1


def test_a_file_of_page_tests_that_does_not_load_is_a_failure(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    report.write_text(
        json.dumps(
            {
                "numPassedTests": 5,
                "numFailedTests": 0,
                "numPendingTests": 1,
                "testResults": [
                    {"status": "passed", "assertionResults": [{}]},
                    {"status": "failed", "assertionResults": []},
                ],
            }
        )
    )
    assert read_vitest(report) == Tally(passed=5, failed=1, skipped=1)


def test_the_closing_line_names_skipped_tests_only_when_there_are_some() -> None:
    assert str(Tally(3, 0, 0)) == "3 passed, 0 failed"
    assert str(Tally(3, 1, 2)) == "3 passed, 1 failed, 2 skipped"
