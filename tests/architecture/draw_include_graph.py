#!/usr/bin/env python3
"""Draws what includes what, from the sources themselves, into ARCHITECTURE.md.

    python3 tests/architecture/draw_include_graph.py            # writes the page's graph anew
    python3 tests/architecture/draw_include_graph.py --print    # shows the Mermaid text alone

An arrow that follows from others is left out: A -> C where A -> B and B -> C stand there. So are the arrows to
services/common/base, which every part may include.
"""

import pathlib
import re
import sys

import include_edges_test as includes

PAGE = includes.REPOSITORY / "ARCHITECTURE.md"
BEGIN, END = "<!-- tests/architecture/draw_include_graph.py writes from here -->\n", "<!-- to here -->\n"
EVERYWHERE = "services/common/base"
# The boxes of the graph, in the order in which they are drawn, and the paths that belong to each.
GROUPS = (("worker", "services/worker"), ("command line", "services/cli"), ("coordinator", "coordinator"),
          ("trainer", "trainer"), ("common to all programs", "services/common"))


def found_edges():
    """Pairs of parts, the first of which includes the second."""
    known = {(includes.part_of(file), includes.part_of(header)) for file, headers in includes.sources()
             for header in headers if header.split("/")[0] in includes.PARTS}
    return {(part, needed) for part, needed in known if part != needed and EVERYWHERE not in (part, needed)}


def is_reached(edges, start, goal):
    seen, waiting = set(), [start]
    while waiting:
        part = waiting.pop()
        for needed in {needed for from_part, needed in edges if from_part == part} - seen:
            if needed == goal:
                return True
            seen.add(needed)
            waiting.append(needed)
    return False


def reduced(edges):
    """The edges without those that follow from others."""
    kept = set(edges)
    for edge in sorted(edges):
        if is_reached(kept - {edge}, *edge):
            kept.remove(edge)
    return kept


def group_of(part):
    return next(folder for _, folder in GROUPS if part == folder or part.startswith(folder + "/"))


def node(part):
    return re.sub(r"\W", "_", part)


def label(part):
    """The name within its group; the folder that gives the group its name stands there with a slash."""
    name = part[len(group_of(part)) + 1:]
    return name or f"{part}/"


def mermaid():
    edges = reduced(found_edges())
    parts = sorted(set(includes.EDGES) - {EVERYWHERE} | {part for edge in edges for part in edge})
    lines = ["```mermaid", "flowchart TD"]
    for title, folder in GROUPS:
        lines.append(f'  subgraph {node(folder)}_group["{title}: {folder}/"]')
        lines += [f'    {node(part)}["{label(part)}"]' for part in parts if group_of(part) == folder]
        lines.append("  end")
    for _, folder in GROUPS:
        lines += [f"  {node(part)} --> {node(needed)}" for part, needed in sorted(edges) if group_of(part) == folder]
    return "\n".join(lines + ["```", ""])


def drawn_page():
    """The page with the graph that the sources have now."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise ValueError(f"{PAGE} lacks the two marks between which the graph stands")
    return before + BEGIN + mermaid() + END + after


def main():
    if "--print" in sys.argv[1:]:
        print(mermaid(), end="")
    else:
        PAGE.write_text(drawn_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
