import io

import numpy as np
import pytest
import torch
from PIL import Image

from verydeep.errors import DatasetError
from verydeep.evaluation.predict import AT_ONCE, Prediction, best_protocol, credentials, files_of, predict
from verydeep.nets.registry import create_net


@pytest.fixture(scope="module")
def net():
    return create_net("vgg-a", num_classes=7, width=1 / 64, crop=32, start="he")


def encoded(seed, height=40, width=50, format="PNG"):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue(), pixels


def test_the_best_classes_are_those_of_the_net_on_the_picture(net, tmp_path):
    path = tmp_path / "square.png"
    data, pixels = encoded(0, 32, 32)
    path.write_bytes(data)
    (prediction,) = predict(net, [path], "centre@32", device="cpu")
    with torch.inference_mode():
        posterior = net(torch.from_numpy(pixels).permute(2, 0, 1)[None]).softmax(dim=-1)[0]
    values, places = posterior.sort(descending=True)
    assert [name for name, _ in prediction.best] == [net.classes[place] for place in places[:5]]
    assert [value for _, value in prediction.best] == pytest.approx(values[:5].tolist(), abs=1e-6)


def test_a_bad_picture_is_named_and_the_others_are_answered(net, tmp_path):
    for number in range(AT_ONCE + 2):
        (tmp_path / f"{number:02}.png").write_bytes(encoded(number)[0])
    (tmp_path / "05.png").write_text("not a picture")
    answers = list(predict(net, [tmp_path, tmp_path / "missing.png"], device="cpu"))
    assert [answer.image for answer in answers] == [
        *(str(tmp_path / f"{number:02}.png") for number in range(AT_ONCE + 2)),
        str(tmp_path / "missing.png"),
    ]
    assert [len(answer.best) for answer in answers] == [0 if i in (5, AT_ONCE + 2) else 5 for i in range(AT_ONCE + 3)]
    assert "05.png" in answers[5].error
    assert "missing.png: cannot be read" in answers[-1].error


def test_a_file_is_called_as_it_was_given(net, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (answer,) = predict(net, ["missing.png"], device="cpu")
    assert answer.error.startswith("missing.png: cannot be read")


def test_an_answer_does_not_depend_on_the_pictures_beside_it(net, tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encoded(number)[0])
    together = list(predict(net, [tmp_path], device="cpu"))
    alone = [next(predict(net, [tmp_path / f"{number}.png"], device="cpu")) for number in range(3)]
    for one, other in zip(together, alone, strict=True):
        assert [name for name, _ in one.best] == [name for name, _ in other.best]
        # sums over a batch may be taken in another order
        assert [value for _, value in one.best] == pytest.approx([value for _, value in other.best], abs=1e-5)


def test_standard_input_is_a_picture(net, tmp_path, monkeypatch):
    data, _ = encoded(1, format="JPEG")
    (tmp_path / "file.jpg").write_bytes(data)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
    piped, file = predict(net, ["-", tmp_path / "file.jpg"], device="cpu")
    assert piped.image == "-"
    assert piped.best == file.best


def test_folders_are_searched_however_deep_and_files_taken_as_they_are(tmp_path):
    for name in ("b.jpg", "a.png", "notes.txt", "deep/er/c.webp", ".hidden.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert files_of(str(tmp_path)) == [str(tmp_path / name) for name in ("a.png", "b.jpg", "deep/er/c.webp")]
    assert files_of(str(tmp_path / "notes.txt")) == [str(tmp_path / "notes.txt")]


def test_a_folder_without_pictures_is_said(tmp_path):
    with pytest.raises(DatasetError, match="has no pictures"):
        files_of(str(tmp_path))


def test_names_of_classes_go_into_json():
    prediction = Prediction("a.png", [("n1", 0.5), ("n2", 0.25)])
    assert prediction.to_dict({"n1": "goldfish"}) == {
        "image": "a.png",
        "best": [
            {"class": "n1", "name": "goldfish", "posterior": 0.5},
            {"class": "n2", "name": "n2", "posterior": 0.25},
        ],
    }


def test_the_line_on_a_net_says_what_it_knows_and_how_often_it_errs(net):
    rows = [
        {"images": 10000, "top1_error": 0.44, "top5_error": 0.21, "protocol": "centre@64"},
        {"images": 10000, "top1_error": 0.41, "top5_error": 0.19, "protocol": "dense@64"},
    ]
    assert credentials("tiny-imagenet", net, {"data": "Tiny-ImageNet", "errors": rows}) == (
        "tiny-imagenet: vgg-a with 7 classes of Tiny-ImageNet; of 10,000 validation pictures it names 41 % wrongly, "
        "and 19 % are not among its five best (dense@64)"
    )
    assert "random weights" in credentials("vgg-a", net, {"weights": "random"})
    assert "was not measured" in credentials("net.safetensors", net, {})


def test_a_net_is_asked_by_the_protocol_that_it_errs_least_by_or_that_it_can_do(net):
    rows = [{"protocol": "centre@64", "top1_error": 0.44}, {"protocol": "dense@64", "top1_error": 0.41}]
    assert best_protocol(net, {"errors": rows}) == "dense@64"
    assert best_protocol(net, {}) == "dense"
    net.no_score_map = "it takes crops only"
    assert best_protocol(net, {}) == "ten-crop"
    del net.no_score_map
