#!/usr/bin/env python3
"""The graph in ARCHITECTURE.md is that of the sources, and small enough to be read."""

import unittest

import draw_include_graph


class IncludeGraph(unittest.TestCase):
    def test_is_drawn_as_the_sources_are(self):
        page = draw_include_graph.PAGE.read_text(encoding="utf-8")
        self.assertEqual(page, draw_include_graph.drawn_page(), "run tests/architecture/draw_include_graph.py")

    def test_can_be_read(self):
        self.assertLess(draw_include_graph.mermaid().count(" --> "), 60)

    def test_leaves_out_arrows_that_follow_from_others(self):
        edges = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")}
        self.assertEqual(draw_include_graph.reduced(edges), edges - {("a", "c")})

    def test_keeps_every_part_of_a_circle_reachable(self):
        edges = {("a", "b"), ("b", "c"), ("c", "a"), ("a", "c")}
        self.assertEqual(draw_include_graph.reduced(edges), edges - {("a", "c")})


if __name__ == "__main__":
    unittest.main(verbosity=2)
