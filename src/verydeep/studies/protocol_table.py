"""What each protocol costs, by arithmetic: the table of docs/testing.md."""

from collections.abc import Sequence

from verydeep.evaluation.cost import macs
from verydeep.evaluation.protocol import PROTOCOLS, parse
from verydeep.nets.registry import NETS

SCALES = "256,384,512"  # of a net that was trained with S from 256 to 512. Source: section 4.2
SEVERAL = tuple(f"{name}@{SCALES}" for name in ("dense", "multi-crop", "dense+multi-crop"))


def protocol_lines(nets: Sequence[str]) -> list[str]:
    """The views of a picture and their multiply-adds, for a square picture and one of 4:3.

    Args:
        nets: the name of one net of the registry.
    """
    (net,) = nets
    lines = [
        f"| protocol | views | 10⁹ multiply-adds of {net}, square | 4:3 | crops' worth, 4:3 |",
        "| --- | --: | --: | --: | --: |",
    ]
    crop = NETS[net].macs
    for text in (*PROTOCOLS, *SEVERAL):
        square, wide = (picture_macs(net, text, *size) for size in ((600, 600), (600, 800)))
        shown = parse(text, NETS[net].crop).views(600, 800, NETS[net].crop)
        views = sum(1 + each.mirror for each in shown)
        cells = (f"`{parse(text, NETS[net].crop)}`", str(views), *(f"{cost / 1e9:.1f}" for cost in (square, wide)))
        lines.append(f"| {' | '.join(cells)} | {wide / crop:.1f} |")
    return lines


def picture_macs(net: str, protocol: str, height: int, width: int) -> int:
    """Multiply-adds of a protocol for a picture of this size (px)."""
    crop, plan = NETS[net].crop, NETS[net].plan
    views = parse(protocol, crop).views(height, width, crop)
    return sum((1 + each.mirror) * macs(plan, *each.view.shape) for each in views)


def cost_ratio_lines(nets: Sequence[str]) -> list[str]:
    """How many times the multiply-adds of dense testing at three scales fifty crops at each of them take."""
    lines = ["| net | square | 4:3 |", "| --- | --: | --: |"]
    for net in nets:
        ratios = (
            picture_macs(net, f"multi-crop@{SCALES}", *size) / picture_macs(net, f"dense@{SCALES}", *size)
            for size in ((600, 600), (600, 800))
        )
        lines.append(f"| {net} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |")
    return lines
