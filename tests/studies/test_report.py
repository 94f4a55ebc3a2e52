import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from verydeep.studies.report import Example, write_report

EVIL = "<script>alert('1')</script>\"><img src=x onerror=alert(2)>"
ROW = {
    "net": "vgg-a",
    "weights": "runs/a/net.safetensors",
    "data": "digits",
    "split": "val",
    "classes": 10,
    "protocol": "dense@64,73,96",
    "scales": [64, 73, 96],
    "mirror": True,
    "images": 1234,
    "top1_error": 0.0873,
    "top1_interval": [0.0728, 0.1043],
    "top5_error": 0.0049,
    "top5_interval": [0.0022, 0.0105],
    "seconds": 12.34,
}


class Page(HTMLParser):
    """The tags, attributes and text of a page, and whether every tag is closed."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attributes]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def read(path):
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    return html, page


def test_a_row_stands_with_its_net_protocol_scales_number_of_images_and_intervals(tmp_path):
    write_report(tmp_path / "report.html", title="A title", rows=[ROW])
    text = " ".join(" ".join(read(tmp_path / "report.html")[1].text).split())
    for part in ("A title", "vgg-a", "dense@64,73,96", "64, 73, 96", "1,234", "8.7", "(7.3–10.4)", "0.5", "(0.2–1.1)"):
        assert part in text
    assert "mirrored" in text
    assert "val, 10 classes" in text


def test_the_lowest_error_is_said_first(tmp_path):
    rows = [ROW, {**ROW, "protocol": "centre@73", "top1_error": 0.02}, {**ROW, "top1_error": 0.5}]
    write_report(tmp_path / "report.html", title="", rows=rows)
    html, _ = read(tmp_path / "report.html")
    assert "Lowest: vgg-a by centre@73, with 2.0 % top-1 error on 1,234 pictures of digits (val)." in html
    assert html.count('class="best"') == 1


def test_names_from_outside_are_never_markup(tmp_path, picture):
    run = tmp_path / "<b>run"
    run.mkdir()
    (run / "metrics.jsonl").write_text("")
    (run / "recipe.toml").write_text(f"net = '''{EVIL}'''")
    (run / "environment.json").write_text('{"<i>key": "</dl><i>"}')
    write_report(
        tmp_path / "report.html",
        title=EVIL,
        rows=[{**ROW, "net": EVIL, "weights": EVIL, "data": EVIL, "note": EVIL}],
        runs=[run],
        examples=[Example(picture, EVIL, [(EVIL, 0.9)], caption=EVIL)],
        notes=[EVIL],
    )
    _, page = read(tmp_path / "report.html")
    assert not {"script", "b", "i"} & set(page.tags)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.tags.count("img") == 1
    assert "".join(page.text).count(EVIL) == 14
    assert ("img", "alt", EVIL) in page.attributes


def test_nothing_is_loaded_from_elsewhere(tmp_path, picture, run_folder):
    write_report(
        tmp_path / "report.html",
        title="",
        rows=[ROW],
        runs=[run_folder],
        examples=[Example(picture, "a", [("a", 1.0)])],
    )
    html, page = read(tmp_path / "report.html")
    links = [value for _, name, value in page.attributes if name in {"src", "href", "xlink:href", "action", "data"}]
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert not re.search(r"@import|url\((?!#)", html)


def test_an_example_shows_its_picture_and_whether_it_was_found(tmp_path, picture):
    best = [("cat", 0.931), ("dog", 0.052)]
    examples = [Example(picture, "cat", best), Example(picture, "dog", best), Example(picture, None, best)]
    write_report(tmp_path / "report.html", title="", examples=examples)
    html, page = read(tmp_path / "report.html")
    assert (html.count("✓ found"), html.count("✗ missed")) == (1, 1)
    assert "".join(page.text).count("93.1 %") == 3
    assert html.count("width: 93.1%") == 3
    uri = next(value for _, name, value in page.attributes if name == "src")
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,")))) as thumbnail:
        assert thumbnail.size == (60, 40)  # small ones are not enlarged


def test_a_large_picture_becomes_a_small_thumbnail(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    write_report(tmp_path / "report.html", title="", examples=[Example(noise, None)])
    assert (tmp_path / "report.html").stat().st_size < 150_000


def test_notes_are_shown(tmp_path):
    write_report(tmp_path / "report.html", title="", notes=["2 pictures were skipped."])
    assert "2 pictures were skipped." in "".join(read(tmp_path / "report.html")[1].text)


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path, run_folder):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(KeyError):
        write_report(path, title="", rows=[{"top1_error": 0.1}], runs=[run_folder])
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir() if entry.is_file()] == ["report.html"]
