"""The table of rows is complete: every row has a test, every reference leads somewhere, the README says the same."""

from __future__ import annotations

from tests.fire import rows

ROOT = rows.HERE.parent.parent


def test_every_row_has_a_test_and_every_test_a_row() -> None:
    assert list(rows.ROWS) == list(range(1, 40))
    found = rows.tested()
    assert set(found) <= set(rows.ROWS), "a test is named after a row that is not in the table"
    missing = sorted(set(rows.ROWS) - set(found))
    assert not missing, f"write test_row_NN_... in tests/fire for the rows {missing}"


def test_every_reference_leads_to_a_test() -> None:
    for number, row in rows.ROWS.items():
        for reference in row.elsewhere:
            path, _, name = reference.partition("::")
            assert name in rows.tests_in(ROOT / path), f"row {number}: there is no {reference}"


def test_the_readme_has_the_table_of_today() -> None:
    assert rows.README.read_text(encoding="utf-8").endswith(rows.table()), "run python -m tests.fire.rows"
