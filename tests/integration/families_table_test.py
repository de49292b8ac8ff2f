"""Compares README's table of model families with `regroup families`."""

import unittest

from families_table import rows, split_page, table
from harness import places


class FamiliesTableTest(unittest.TestCase):
    def test_readme_shows_what_the_program_lists(self):
        self.assertEqual(split_page()[1], table(rows(places.PROGRAMS)),
                         "run python3 tests/integration/families_table.py --write")


if __name__ == "__main__":
    unittest.main()
