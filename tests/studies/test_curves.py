from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

from verydeep.errors import TrainingError
from verydeep.studies.curves import NAMED_COLOURS, STYLE, curves, draw_error, draw_loss, epochs_done, read_metrics


def words(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter() if element.text and element.text.strip()]


def test_a_run_has_three_plots_whose_axes_name_quantity_and_unit(run_folder):
    loss, error, rate = curves(run_folder)
    assert {"loss (cross-entropy), nats", "epochs", "training"} <= set(words(loss))
    assert {"top-1 error, %", "epochs", "training", "validation"} <= set(words(error))
    assert {"learning rate", "epochs"} <= set(words(rate))


def test_plots_take_their_colours_from_the_page(run_folder):
    for svg in curves(run_folder):
        for colour in NAMED_COLOURS:
            assert svg.count(colour) == svg.count(f", {colour})")
        assert "var(--ink" in svg
        assert "#ffffff" not in svg


def test_every_colour_of_the_style_has_a_name_in_the_page(run_folder):
    style = STYLE.read_text()
    page = STYLE.with_name("house.css").read_text()
    for colour, name in NAMED_COLOURS.items():
        assert colour[1:] in style
        assert page.count(f"{name}:") == 2  # light and dark


def test_plots_of_the_same_run_are_the_same(run_folder):
    assert curves(run_folder) == curves(run_folder)


def test_error_is_drawn_in_per_cent_at_the_end_of_its_epoch(run_folder):
    epochs = [record for record in read_metrics(run_folder) if record["kind"] == "epoch"]
    axes = Figure().subplots()
    draw_error(axes, [], epochs)
    training, validation = axes.get_lines()
    assert list(training.get_xdata()) == [1, 2, 3]
    assert list(training.get_ydata()) == pytest.approx([90, 80, 70])
    assert list(validation.get_ydata()) == pytest.approx([85, 75, 65])


def test_labels_of_lines_that_end_together_stay_apart(run_folder):
    epochs = [record for record in read_metrics(run_folder) if record["kind"] == "epoch"]
    for record in epochs:
        record["validation_top1_error"] = record["top1_error"]
    axes = Figure().subplots()
    draw_error(axes, [], epochs)
    low, high = sorted(text.get_position()[1] for text in axes.texts)
    assert high - low == pytest.approx(0.08)


def test_a_run_without_validation_is_drawn(run_folder):
    epochs = [{"step": 4, "loss": 1.0, "top1_error": 0.5, "validation_top1_error": None, "learning_rate": 0.1}]
    axes = Figure().subplots()
    draw_error(axes, [], epochs)
    assert [text.get_text() for text in axes.texts] == ["training"]
    draw_loss(Figure().subplots(), [], epochs)


def test_a_localisers_errors_are_wrong_boxes():
    epochs = [
        {"step": 4, "loss": 1.0, "top1_error": 0.5, "validation_localisation_error": 0.3, "learning_rate": 0.1},
        {"step": 8, "loss": 0.9, "top1_error": 0.4, "validation_localisation_error": 0.2, "learning_rate": 0.1},
    ]
    axes = Figure().subplots()
    draw_error(axes, [], epochs)
    assert axes.get_ylabel() == "wrong boxes, %"
    assert list(axes.get_lines()[1].get_ydata()) == pytest.approx([30, 20])
    draw_loss(axes, [], epochs)
    assert axes.get_ylabel() == "loss of boxes"


def test_steps_stand_between_the_ends_of_the_epochs():
    epochs = [{"step": 4}, {"step": 8}]
    assert epochs_done([{"step": 2}, {"step": 4}, {"step": 7}], epochs) == [0.5, 1.0, 1.75]


def test_a_last_line_cut_short_is_left_out(run_folder):
    whole = read_metrics(run_folder)
    with (run_folder / "metrics.jsonl").open("a") as metrics:
        metrics.write('{"kind": "step", "st')
    assert read_metrics(run_folder) == whole


def test_a_damaged_line_is_named(run_folder):
    path = run_folder / "metrics.jsonl"
    path.write_text("nonsense\n" + path.read_text())
    with pytest.raises(TrainingError, match=r"metrics\.jsonl: line 1 is not a record"):
        read_metrics(run_folder)


def test_a_folder_without_metrics_is_named(tmp_path):
    with pytest.raises(TrainingError, match=r"metrics\.jsonl: cannot be read \(No such file or directory\)"):
        curves(tmp_path)
