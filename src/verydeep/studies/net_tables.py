"""What the nets are, as rows and as tables to read. Source: section 2.2, tables 1 and 2."""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.table import Table

from verydeep.nets.layers import place
from verydeep.nets.registry import ALIASES, NETS, load_own_net
from verydeep.weights.cards import WeightCard

Row = Mapping[str, Any]
SIZES = ("parameters", "multiply-adds")


def net_rows() -> list[Row]:
    """Each net of the registry at full width for its own classes: depth, size, cost, published errors."""
    return [
        {
            "net": net.name,
            "crop": net.crop,
            "classes": net.num_classes,
            "layers": net.layers,
            "parameters": net.parameters,
            "macs": net.macs,
            "published_errors": {protocol: list(errors) for protocol, errors in net.errors.items()},
            "tested": net.tested,
            "source": net.source,
        }
        for net in NETS.values()
    ]


def net_table(rows: Sequence[Row]) -> Table:
    """The rows of `net_rows` as a table."""
    table = Table(
        caption="Multiply-adds: of one crop, biases left out. Published: top-1 / top-5 error, per cent, on the "
        "validation images of ILSVRC-2012; of nets for 10 classes on the test images of CIFAR-10.",
        caption_justify="left",
    )
    table.add_column("net")
    for heading in ("crop, px", "classes", "layers", "parameters", "multiply-adds"):
        table.add_column(heading, justify="right")
    table.add_column("published")
    for row in rows:
        published = "\n".join(f"{protocol}: {pair(errors)}" for protocol, errors in row["published_errors"].items())
        sizes = (f"{row[key]:,}" for key in ("crop", "classes", "layers", "parameters", "macs"))
        table.add_row(row["net"], *sizes, published)
    return table


def net_lines(names: Sequence[str]) -> list[str]:
    """The rows of some nets, or of `all`, as lines of a page."""
    lines = [
        "| net | crop | classes | layers | parameters | multiply-adds | published, % | source |",
        "| --- | --: | --: | --: | --: | --: | --- | --- |",
    ]
    for row in net_rows():
        if "all" in names or row["net"] in names:
            sizes = (f"{row[key]:,}" for key in ("crop", "classes", "layers", "parameters", "macs"))
            published = (f"`{protocol}` {pair(errors)}" for protocol, errors in row["published_errors"].items())
            cells = (f"`{row['net']}`", *sizes, "; ".join(published), row["source"])
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def pair(errors: Sequence[float | None]) -> str:
    """Top-1 / top-5 error in per cent, with a dash for what is not known."""
    return " / ".join("–" if error is None else f"{100 * error:.1f}" for error in errors)


def weights_table(cards: Sequence[WeightCard]) -> Table:
    """Published weights as a table."""
    table = Table(
        caption="Published: top-1 / top-5 error, per cent, on the validation images of ILSVRC-2012.",
        caption_justify="left",
    )
    for heading in ("weights", "net", "published", "licence"):
        table.add_column(heading)
    for card in cards:
        published = (f"{found.protocol}: {pair((found.top1_error, found.top5_error))}" for found in card.errors)
        table.add_row(card.name, card.net, "\n".join(published), (card.licence or "").partition(" (")[0])
    return table


def layer_rows(name: str) -> list[Row]:
    """Each layer of a net in the order of the data, without ReLU and dropout, which change neither size nor cost.

    Args:
        name: in the registry, or of any net that `load_own_net` finds.
    """
    if ALIASES.get(name, name) in NETS:
        net = NETS[ALIASES.get(name, name)]
        plan, crop = net.plan, net.crop
    else:
        loaded, _ = load_own_net(name)
        plan, crop = loaded.plan, loaded.crop
    return [
        {
            "layer": placed.layer.name,
            "stage": stage(placed.layer.name),
            "kernel": placed.layer.kernel,
            "channels": placed.layer.outputs,
            "side": placed.side,
            "parameters": placed.layer.parameters,
            "macs": placed.macs,
            "receptive_field": placed.receptive_field,
            "stride": placed.stride,
        }
        for placed in place(plan, crop)
        if placed.layer.kind not in ("relu", "gelu", "dropout", "drop-channels", "join", "times")
    ]


def stage(layer: str) -> str:
    """The stage that a layer belongs to: conv4_3, norm4_3 and pool4 → conv4, fc7 → fc7; conv2/3x3 → conv2."""
    return layer.partition("/")[0] if "/" in layer else re.sub(r"^(norm|pool|lrn)", "conv", layer).partition("_")[0]


def layer_table(rows: Sequence[Row]) -> Table:
    """The rows of `layer_rows` as a table."""
    table = Table(
        caption="Side: of the square map for one crop, in cells. Receptive field and stride: in pixels of the picture.",
        caption_justify="left",
    )
    table.add_column("layer")
    keys = ("kernel", "channels", "side", "parameters", "macs", "receptive_field", "stride")
    for key in keys:
        table.add_column({"macs": "multiply-adds"}.get(key, key.replace("_", " ")), justify="right")
    for row in rows:
        table.add_row(row["layer"], *(f"{row[key]:,}" if row[key] else "" for key in keys))
    return table


def stage_table(rows: Sequence[Row]) -> Table:
    """Parameters and multiply-adds of each stage."""
    table = Table()
    table.add_column("stage")
    for heading in ("parameters", "multiply-adds"):
        table.add_column(heading, justify="right")
    for name, parameters, macs in (*stages(rows), ("all", *totals(rows))):
        if name == "all":
            table.add_section()
        table.add_row(name, f"{parameters:,}", f"{macs:,}")
    return table


def beside_rows(name: str, other: str) -> list[Row]:
    """The sizes of each stage that two nets have in common, and of both nets; how many times the second one's."""
    ours, theirs = ([*stages(rows), ("all", *totals(rows))] for rows in (layer_rows(name), layer_rows(other)))
    found = {stage: sizes for stage, *sizes in theirs}
    return [
        {
            "stage": stage,
            "parameters": sizes[0],
            "macs": sizes[1],
            "beside_parameters": found[stage][0],
            "beside_macs": found[stage][1],
            "times_parameters": sizes[0] / found[stage][0],
            "times_macs": sizes[1] / found[stage][1],
        }
        for stage, *sizes in ours
        if stage in found
    ]


def beside_cells(name: str, other: str, rows: Sequence[Row]) -> Iterator[tuple[str, ...]]:
    """The rows of `beside_rows` as words, the headings first."""
    yield (
        "stage",
        *(f"{words} of {net}" for net in (name, other) for words in SIZES),
        *(f"times the {w}" for w in SIZES),
    )
    for row in rows:
        sizes = (f"{row[key]:,}" for key in ("parameters", "macs", "beside_parameters", "beside_macs"))
        yield row["stage"], *sizes, *(f"{row[key]:.2f}" for key in ("times_parameters", "times_macs"))


def beside_table(name: str, other: str, rows: Sequence[Row]) -> Table:
    """The rows of `beside_rows` as a table."""
    headings, *cells = beside_cells(name, other, rows)
    table = Table(caption=f"Multiply-adds: of one crop, biases left out. Times: {name}'s over {other}'s.")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for row in cells:
        if row[0] == "all":
            table.add_section()
        table.add_row(*row)
    return table


def beside_lines(names: Sequence[str]) -> list[str]:
    """Two nets by their stages as lines of a page."""
    name, other = names
    headings, *cells = beside_cells(name, other, beside_rows(name, other))
    rule = ("---", *["--:"] * (len(headings) - 1))
    return [f"| {' | '.join(row)} |" for row in (headings, rule, *cells)]


def stages(rows: Sequence[Row]) -> Iterator[tuple[str, int, int]]:
    """Name, parameters and multiply-adds of each stage that has any."""
    for name, members in groupby(rows, key=lambda row: row["stage"]):
        parameters, macs = totals(list(members))
        if parameters:
            yield name, parameters, macs


def totals(rows: Sequence[Row]) -> tuple[int, int]:
    """Parameters and multiply-adds of some layers."""
    return sum(row["parameters"] for row in rows), sum(row["macs"] for row in rows)
