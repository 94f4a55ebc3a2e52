import json

from verydeep.studies.pages import fill

KNOWN = {"known_class_error": 0.25, "known_class_interval": [0.24, 0.26], "images": 10_000}
GUESSED = {"localisation_error": 0.4, "localisation_interval": [0.39, 0.41],
           "classification_error": 0.2, "classification_interval": [0.19, 0.21]}  # fmt: skip


def test_tests_and_guesses_of_a_study_stand_below_what_needs_no_net(tmp_path):
    (tmp_path / "baselines.json").write_text(json.dumps({"the whole picture": 0.479}))
    rows = [
        {"run": "classes", "test": "dense@224", "seed": 0, "top1_error": 0.5},
        {"run": "scr", "test": "centre@224", "seed": 1, **KNOWN},
        {"run": "boxes of both", "test": "", "seed": 0, **KNOWN, **GUESSED},
    ]
    (tmp_path / "errors.json").write_text(json.dumps(rows))
    page = "<!-- boxes: baselines.json errors.json -->\n<!-- end -->"
    assert fill(page, tmp_path).splitlines()[1:-1] == [
        "| boxes of | images | the class known, % | five guesses, % | their classes, % |",
        "| --- | --: | --: | --: | --: |",
        "| the whole picture | | 47.9 | | |",
        "| scr centre@224, seed 1 | 10,000 | 25.0 (24.0–26.0) |  |  |",
        "| boxes of both | 10,000 | 25.0 (24.0–26.0) | 40.0 (39.0–41.0) | 20.0 (19.0–21.0) |",
    ]


def test_a_bundled_localiser_has_a_line_for_each_protocol(tmp_path):
    rows = [{"weights": "tiny-imagenet-boxes", "boxes": [way], **KNOWN, **GUESSED} for way in ("centre@64", "dense@64")]
    (tmp_path / "tiny-imagenet-boxes.json").write_text(json.dumps(rows))
    lines = fill("<!-- boxes: tiny-imagenet-boxes.json -->\n<!-- end -->", tmp_path).splitlines()[3:-1]
    assert [line.split(" | ")[0] for line in lines] == [
        "| tiny-imagenet-boxes, centre@64",
        "| tiny-imagenet-boxes, dense@64",
    ]


def test_what_is_not_there_yet_is_said(tmp_path):
    filled = fill("<!-- boxes: a/baselines.json a/errors.json -->\n<!-- end -->", tmp_path)
    assert "*Not measured yet: a/baselines.json, a/errors.json.*" in filled
