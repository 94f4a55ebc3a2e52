"""The page in a real browser without a window: Chromium, by playwright, where either is installed.

    VERYDEEP_DOCS=docs python -m pytest tests/serve/test_browser.py

also takes the screenshots of docs/serve.md anew, and measures how long an answer takes.
"""

import base64
import io
import json
import os
import runpy
import shutil
import statistics
from pathlib import Path

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from verydeep.nets.registry import bundled

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
DOCS = os.environ.get("VERYDEEP_DOCS")
PHOTOGRAPH = 0  # of scikit-learn's two: China, whose licence allows it to be shown
DROP = """([name, kind, encoded]) => {
  const transfer = new DataTransfer();
  const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
  transfer.items.add(new File([bytes], name, { type: kind }));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
}"""

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason=f"no browser is installed: none of {', '.join(BROWSERS)}"),
    pytest.mark.skipif("tiny-imagenet" not in bundled(), reason="this copy brings no net"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(start_server):
    return start_server()[0]


@pytest.fixture
def open_page(browser):
    """Opens a page that must not complain in its console, nor ask anybody else for anything."""
    pages = []

    def open_at(address, width=1280, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        page = context.new_page()
        page.wrong = []
        page.on("console", lambda said: page.wrong.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: page.wrong.append(str(error)))
        page.on("request", lambda asked: page.wrong.append(asked.url)
                if not asked.url.startswith((address, "data:")) else None)  # fmt: skip
        page.goto(address)
        pages.append((page, context))
        return page

    yield open_at
    for page, context in pages:
        context.close()
        assert not page.wrong


@pytest.fixture(scope="module")
def photograph():
    file = io.BytesIO()
    Image.fromarray(load_sample_images().images[PHOTOGRAPH]).save(file, "JPEG", quality=90)
    return file.getvalue()


def drop(page, name, encoded, kind="image/jpeg"):
    page.evaluate(DROP, [name, kind, base64.b64encode(encoded).decode()])


def seen_classes(page):
    return page.locator("#classes .name").all_inner_texts()


def test_a_dropped_photograph_gets_five_classes_and_a_map_of_each(open_page, address, photograph):
    page = open_page(address)
    assert not page.locator("#answer").is_visible()
    drop(page, "china.jpg", photograph)
    page.wait_for_selector("#classes label")
    names = seen_classes(page)
    assert len(set(names)) == 5
    shares = [float(text.removesuffix(" %")) for text in page.locator("#classes .number").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    assert page.locator("#classes label").nth(0).locator("input").is_checked()
    first = page.evaluate("document.getElementById('map').toDataURL()")
    page.locator("#classes label").nth(3).click()
    assert page.evaluate("document.getElementById('map').toDataURL()") != first
    assert names[3] in page.locator("#words").inner_text()
    page.locator("#sizes label").nth(2).click()
    assert "256 px" in page.locator("#words").inner_text()
    page.locator("#show-map").uncheck()
    assert not page.locator("#map").is_visible()
    ways = page.locator("#ways thead th small").all_inner_texts()
    assert ways == ["centre@64", "dense@64", "dense@64,80,96"]
    assert page.locator("#ways tfoot td").count() == 4


def test_keys_alone_do_it_all(open_page, address, photograph, tmp_path):
    page = open_page(address)
    (tmp_path / "china.jpg").write_bytes(photograph)
    with page.expect_file_chooser() as chooser:  # which Chromium has to be told of before the key
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "file"
        page.keyboard.press("Space")
    chooser.value.set_files(tmp_path / "china.jpg")
    page.wait_for_selector("#classes label")
    page.locator("#classes input").nth(0).focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#classes input").nth(1).is_checked()
    assert seen_classes(page)[1] in page.locator("#words").inner_text()


@pytest.mark.parametrize(
    ("name", "encoded", "said"),
    [
        ("empty.jpg", b"", "empty.jpg: is empty."),
        ("notes.jpg", b"Milk, bread and a photograph.", "notes.jpg: is of no known format"),
        ("half.jpg", "half", "half.jpg: cannot be decoded"),
    ],
)
def test_a_wrong_file_is_said_in_a_line_and_the_next_one_is_looked_at(
    open_page, address, photograph, name, encoded, said
):
    page = open_page(address)
    drop(page, name, photograph[: len(photograph) // 2] if encoded == "half" else encoded)
    page.wait_for_selector("#trouble:visible")
    assert page.locator("#trouble").inner_text().startswith(said)
    drop(page, "china.jpg", photograph)
    page.wait_for_selector("#classes label")
    assert not page.locator("#trouble").is_visible()
    page.wrong = [line for line in page.wrong if "422" not in line]  # which Chromium itself writes into the console


def test_what_is_no_file_and_what_is_too_large_are_not_sent(open_page, address):
    page = open_page(address)
    page.evaluate("document.dispatchEvent(new DragEvent('drop', { dataTransfer: new DataTransfer() }))")
    assert "no file" in page.locator("#trouble").inner_text()
    page.evaluate("look(new File([new Uint8Array(33e6)], 'large.tif'))")
    assert page.locator("#trouble").inner_text() == "large.tif is larger than 32 megabytes."


def test_boxes_and_the_centre_crop_are_framed_where_they_are(open_page, start_server, files, photograph):
    net, localiser = files
    page = open_page(start_server(net, "--localiser", localiser)[0])
    drop(page, "china.jpg", photograph)
    page.wait_for_selector("#box:visible")
    picture, box = (page.locator(name).bounding_box() for name in ("#picture", "#box"))
    assert picture["x"] - 1 <= box["x"] < box["x"] + box["width"] <= picture["x"] + picture["width"] + 1
    page.locator("#show-crop").check()
    crop = page.locator("#crop").bounding_box()
    assert crop["width"] == pytest.approx(crop["height"], rel=0.02)
    assert crop["x"] + crop["width"] / 2 == pytest.approx(
        picture["x"] + picture["width"] / 2, abs=picture["width"] / 100
    )  # of an odd margin the smaller half lies to the left
    page.locator("#show-box").uncheck()
    assert not page.locator("#box").is_visible()


def test_of_a_net_without_a_map_the_page_says_why(open_page, address, photograph):
    page = open_page(address)
    drop(page, "china.jpg", photograph)
    page.wait_for_selector("#classes label")
    page.evaluate("""() => {
      answer.maps = []; answer.crop = null; answer.no_map = "it takes crops only";
      for (const each of answer.classes) { each.maps = []; each.box = null; }
      show();
    }""")
    assert page.locator("#words").inner_text() == "No map: it takes crops only."
    for part in ("#map", "#scale", "#sizes", "#crop-control", "#box-control"):
        assert not page.locator(part).is_visible()
    page.locator("#classes label").nth(2).click()
    assert page.locator("#classes input").nth(2).is_checked()


@pytest.mark.parametrize(("name", "width", "scheme"), [("wide", 1280, "light"), ("narrow", 390, "dark")])
def test_it_fits_a_wide_and_a_narrow_window(open_page, address, photograph, tmp_path, name, width, scheme):
    page = open_page(address, width=width, height=844, color_scheme=scheme)
    drop(page, "china.jpg", photograph)
    page.wait_for_selector("#classes label")
    page.wait_for_timeout(500)  # until bars have grown
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    columns = page.evaluate("getComputedStyle(document.querySelector('.sight')).gridTemplateColumns.split(' ').length")
    assert columns == (2 if name == "wide" else 1)
    file = Path(DOCS or tmp_path) / f"serve-{name}.png"
    page.screenshot(path=tmp_path / "shot.png", full_page=True)
    with Image.open(tmp_path / "shot.png") as shot:
        whole = shot.convert("RGB")
        few = whole.quantize(palette=whole.quantize(256, kmeans=1), dither=Image.Dither.FLOYDSTEINBERG)
        few.save(file, optimize=True)
    assert file.stat().st_size < 300_000


def test_the_time_from_drop_to_answer_is_measured(open_page, address, photograph, capsys):
    page = open_page(address)
    seconds = []
    for _ in range(20 if DOCS else 3):
        page.evaluate("delete document.body.dataset.seconds")
        drop(page, "china.jpg", photograph)
        page.wait_for_selector("body[data-seconds]")
        seconds.append(float(page.evaluate("document.body.dataset.seconds")))
    with capsys.disabled():
        print(f"\nfrom drop to answer: {statistics.median(seconds):.3f} s, the median of {len(seconds)}")
    if DOCS:
        root = Path(__file__).parents[2]
        with Image.open(io.BytesIO(photograph)) as image:
            size = image.size
        found = {
            "what": "seconds from the drop of a photograph on the page of `verydeep serve` until its classes, maps and "
            "the picture are shown, in a browser on the same machine",
            "net": "tiny-imagenet",
            "photograph": f"{size[0]} × {size[1]} px",
            "times": len(seconds),
            "median": round(statistics.median(seconds), 4),
            "least": round(min(seconds), 4),
            "most": round(max(seconds), 4),
            "browser": page.context.browser.version,
            "machine": runpy.run_path(str(root / "benchmarks" / "machine.py"))["describe_machine"](),
            "threads": int(os.environ.get("OMP_NUM_THREADS", 0)) or torch.get_num_threads(),
            "torch": torch.__version__,
        }
        (Path(DOCS) / "results" / "speed" / "serve.json").write_text(json.dumps(found, indent=2) + "\n")
