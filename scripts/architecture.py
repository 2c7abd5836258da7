"""Draw the rooms of the package, and who imports whom, from its imports: docs/pictures/rooms.svg.

    python scripts/architecture.py

A room is a few modules with one reason to change (``ROOMS``). An arrow is an import; one that a way over other arrows
already tells is left out. A room stands below all that import it, so every arrow points down.
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path

import grimp

ROOMS = {
    "Command line": ("__main__", "commands", "terminal"),
    "Python": ("api", "choices"),
    "Configuration": ("composition", "config", "schema", "conf_folder"),
    "Report": ("report", "checking", "paragraph", "smallest_set"),
    "Describe": ("describe",),
    "Results": ("archive", "feature_folders", "reproduction", "outcomes", "tracking"),
    "Run": ("run", "classify", "environment"),
    "Records": ("records", "question", "scored_file"),
    "Scorers": ("scorers",),
    "Features": ("features", "stored_features", "views", "view_features", "pixel_store"),
    "Backbones": ("backbone",),
    "Prompts": ("prompts",),
    "Arithmetic": ("embeddings", "scores", "intervals", "template_weights", "effects", "metrics", "truth"),
    "Data sets": ("dataset",),
    "Store": ("store", "keys", "identity", "lease", "claims", "json_files", "array_files", "open_clip_files", "paths"),
    "Machine": ("interrupts", "libraries", "memory", "parts", "progress", "ranks"),
    "Errors": ("errors", "border"),
}
"""The modules at the root of the package, by room; docs/architecture.md has a paragraph for each. ``__init__`` is no
room: it holds the version, and the names of ``api`` until they are asked for."""

DRAWING = Path(__file__).parents[1] / "docs" / "pictures" / "rooms.svg"

Edge = tuple[str, str]
Node = str | tuple[Edge, int]
"""A room, or the place in a row at which an arrow passes by its rooms."""

BOX_HEIGHT, GAP, PASS, ROW = 54, 28, 18, 104
MARGIN = 16


def room_edges() -> set[Edge]:
    """Return (room, imported room) of all imports at run time.

    Raises:
        SystemExit: a module is in no room, or a room names a module that does not exist, or rooms import each other
            in a circle.
    """
    graph = grimp.build_graph("cupl_bench", exclude_type_checking_imports=True, cache_dir=None)
    room_of = {module: room for room, modules in ROOMS.items() for module in modules}
    present = {_top(module) for module in graph.modules} - {""}
    if homeless := sorted(present - room_of.keys()):
        raise SystemExit(f"In no room: {', '.join(homeless)}. Add to ROOMS in scripts/architecture.py.")
    if gone := sorted(room_of.keys() - present):
        raise SystemExit(f"In ROOMS of scripts/architecture.py, but not in the package: {', '.join(gone)}.")
    edges = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            if _top(module) and _top(imported):
                edges.add((room_of[_top(module)], room_of[_top(imported)]))
    return {(room, other) for room, other in edges if room != other}


def _top(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def rows_of(edges: Iterable[Edge]) -> dict[str, int]:
    """Return the row of each room: one below the lowest room that imports it."""
    edges = list(edges)
    rows = dict.fromkeys(ROOMS, 0)
    for _ in ROOMS:
        lower = {b: max(rows[a] + 1 for a, other in edges if other == b) for _, b in edges}
        if all(rows[room] == row for room, row in lower.items()):
            return rows
        rows |= lower
    raise SystemExit("Rooms import each other in a circle: move a module in ROOMS of scripts/architecture.py.")


def without_implied(edges: set[Edge]) -> list[Edge]:
    """Return the edges without those that a longer way tells."""
    below = {room: {b for a, b in edges if a == room} for room in ROOMS}

    def reached(room: str) -> set[str]:
        return below[room].union(*(reached(other) for other in below[room]))

    return sorted((a, b) for a, b in edges if not any(b in reached(other) for other in below[a]))


def chains_of(edges: Sequence[Edge], rows: Mapping[str, int]) -> dict[Edge, list[Node]]:
    """Return the way of each arrow: a node in every row from its room to the imported one."""
    return {(a, b): [a, *(((a, b), row) for row in range(rows[a] + 1, rows[b])), b] for a, b in edges}


def order(chains: Mapping[Edge, Sequence[Node]], rows: Mapping[str, int]) -> list[list[Node]]:
    """Return the nodes of each row from left to right, so that few arrows cross."""
    table: list[list[Node]] = [[] for _ in range(max(rows.values()) + 1)]
    for room, row in rows.items():
        table[row].append(room)
    for chain in chains.values():
        for node in chain[1:-1]:
            assert isinstance(node, tuple)  # noqa: S101 - rooms stand at the ends of a chain alone
            table[node[1]].append(node)
    links = [link for chain in chains.values() for link in pairwise(chain)]
    up = {node: [a for a, b in links if b == node] for line in table for node in line}
    down = {node: [b for a, b in links if a == node] for line in table for node in line}
    best, fewest = [list(line) for line in table], _crossings(table, down)
    for turn in range(40):
        places = {node: place / len(line) for line in table for place, node in enumerate(line)}
        for line in table if turn % 2 else table[::-1]:
            beside = up if turn % 2 else down
            line.sort(key=lambda node: _mean([places[other] for other in beside[node]], places[node]))
            places |= {node: (place + 0.5) / len(line) for place, node in enumerate(line)}
        if _crossings(table, down) < fewest:
            best, fewest = [list(line) for line in table], _crossings(table, down)
    return _exchanged(best, down)


def _exchanged(table: list[list[Node]], down: Mapping[Node, Sequence[Node]]) -> list[list[Node]]:
    """Exchange any two nodes of a row while that removes a crossing."""
    fewest = _crossings(table, down)
    better = True
    while better:
        better = False
        for line in table:
            for i in range(len(line)):
                for j in range(i + 1, len(line)):
                    line[i], line[j] = line[j], line[i]
                    count = _crossings(table, down)
                    if count < fewest:
                        fewest, better = count, True
                    else:
                        line[i], line[j] = line[j], line[i]
    return table


def _crossings(table: Sequence[Sequence[Node]], down: Mapping[Node, Sequence[Node]]) -> int:
    count = 0
    for line, below in pairwise(table):
        place = {node: number for number, node in enumerate(below)}
        ends = [[place[other] for other in down[node]] for node in line]
        count += sum(a > b for i, left in enumerate(ends) for right in ends[i + 1 :] for a in left for b in right)
    return count


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def width(node: Node) -> int:
    """Return the width of a room's box, or of the passage of an arrow."""
    if not isinstance(node, str):
        return PASS
    return max(10 * len(node), int(6.7 * len(_modules(node)))) + 28


def _modules(room: str) -> str:
    return ", ".join(ROOMS[room])


def centres(table: Sequence[Sequence[Node]], chains: Mapping[Edge, Sequence[Node]]) -> dict[Node, float]:
    """Return the x of each node's centre: near the nodes that it is linked with, and no two boxes on each other."""
    links = [link for chain in chains.values() for link in pairwise(chain)]
    x = {node: 0.0 for line in table for node in line}
    beside = {node: [b if a == node else a for a, b in links if node in (a, b)] for node in x}
    for _ in range(200):
        for line in table:
            wanted = [_mean([x[other] for other in beside[node]], x[node]) for node in line]
            offsets = [0.0]
            for left, right in pairwise(line):
                offsets.append(offsets[-1] + (width(left) + width(right)) / 2 + GAP)
            # A straight passage matters more than a box in the middle of its arrows.
            weights = [1 if isinstance(node, str) else 4 for node in line]
            moved = _never_falling([want - offset for want, offset in zip(wanted, offsets, strict=True)], weights)
            x |= {node: place + offset for node, place, offset in zip(line, moved, offsets, strict=True)}
    leftmost = min(x[node] - width(node) / 2 for node in x)
    return {node: round(place - leftmost + MARGIN) for node, place in x.items()}


def _never_falling(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Return the nearest values, by weighted least squares, of which none is less than the one before."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        blocks.append((value, weight, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (a, v, m), (b, w, n) = blocks[-2:]
            blocks[-2:] = [((a * v + b * w) / (v + w), v + w, m + n)]
    return [value for value, _, count in blocks for _ in range(count)]


def drawing() -> str:
    """Return the SVG."""
    edges = room_edges()
    rows = rows_of(edges)
    chains = chains_of(without_implied(edges), rows)
    table = order(chains, rows)
    x = centres(table, chains)
    wide = round(max(x[node] + width(node) / 2 for node in x)) + MARGIN
    high = len(table) * ROW - (ROW - BOX_HEIGHT) + 2 * MARGIN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}"'
            ' font-family="sans-serif" text-anchor="middle">',
            "<!-- Made by scripts/architecture.py from the imports. -->",
            f"<title>The {len(ROOMS)} rooms of cupl_bench: every arrow is an import, and points down</title>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0,0 L8,4 L0,8 z" fill="#5b6b7b"/></marker></defs>',
            f'<rect width="{wide}" height="{high}" fill="#ffffff"/>',
            *(_arrow(chain, chains, table, x) for chain in chains.values()),
            *(_box(node, row, x[node]) for row, line in enumerate(table) for node in line if isinstance(node, str)),
            "</svg>\n",
        ]
    )


def _arrow(
    chain: Sequence[Node],
    chains: Mapping[Edge, Sequence[Node]],
    table: Sequence[Sequence[Node]],
    x: Mapping[Node, float],
) -> str:
    start, end = chain[0], chain[-1]
    row = next(number for number, line in enumerate(table) if start in line)
    here = _port(start, [other[1] for other in chains.values() if other[0] == start], chain[1], x)
    path = [f"M{here},{_top_of(row) + BOX_HEIGHT}"]
    y = _top_of(row) + BOX_HEIGHT
    for number, node in enumerate(chain[1:], row + 1):
        if node == end:
            there = _port(node, [other[-2] for other in chains.values() if other[-1] == end], chain[-2], x)
        else:
            there = round(x[node])
        to = _top_of(number)
        middle = (y + to) // 2
        path.append(f"C{here},{middle} {there},{middle} {there},{to - (2 if node == end else 0)}")
        here, y = there, to
        if node != end:
            y = to + BOX_HEIGHT
            path.append(f"V{y}")
    return f'<path d="{" ".join(path)}" fill="none" stroke="#5b6b7b" stroke-width="1.4" marker-end="url(#tip)"/>'


def _port(room: Node, others: Sequence[Node], other: Node, x: Mapping[Node, float]) -> int:
    """Return the x at which an arrow leaves or reaches a room: side by side, in the order of their other ends."""
    sides = sorted(others, key=lambda node: (x[node], str(node)))
    step = min(26.0, (width(room) - 24) / max(1, len(sides)))
    return round(x[room] + (sides.index(other) - (len(sides) - 1) / 2) * step)


def _top_of(row: int) -> int:
    return MARGIN + row * ROW


def _box(room: str, row: int, x: float) -> str:
    left, top = round(x - width(room) / 2), _top_of(row)
    return (
        f'<rect x="{left}" y="{top}" width="{width(room)}" height="{BOX_HEIGHT}" rx="8" fill="#eef3f8"'
        f' stroke="#2f5d8a" stroke-width="1.4"/>'
        f'<text x="{round(x)}" y="{top + 23}" font-size="15" font-weight="bold" fill="#14324d">{escape(room)}</text>'
        f'<text x="{round(x)}" y="{top + 42}" font-size="12" fill="#33475b">{escape(_modules(room))}</text>'
    )


if __name__ == "__main__":
    DRAWING.parent.mkdir(exist_ok=True)
    DRAWING.write_text(drawing(), encoding="utf-8")
    print(DRAWING)
