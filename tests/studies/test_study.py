import tomllib

import pytest

from verydeep.errors import StudyError
from verydeep.nets.registry import NETS
from verydeep.studies.study import Trial, merge, read_study, scale_protocol, studies


@pytest.fixture
def change(small):
    """The small study with a piece of it replaced."""

    def changed(old, new):
        text = small.read_text()
        assert old in text
        small.write_text(text.replace(old, new))
        return small

    return changed


@pytest.mark.parametrize("name", studies())
def test_the_studies_of_the_package_hold_together(name):
    study = read_study(name)
    for run in study.runs:
        assert study.recipe_of(run, 0).net in NETS


def test_tiny_is_the_graph_of_paper():
    tiny, paper = read_study("tiny"), read_study("paper")
    assert tiny.runs.keys() == paper.runs.keys()
    for run in paper.runs:
        assert tiny.runs[run].start == paper.runs[run].start
        assert tiny.runs[run].tests == paper.runs[run].tests
        assert tiny.recipe_of(run, 0).net == paper.recipe_of(run, 0).net
    assert tiny.fusions == paper.fusions
    assert tiny.findings == paper.findings


@pytest.mark.parametrize(
    ("run", "net", "start", "sides", "rate"),
    [  # by hand from section 3.1 and tables 3 and 4
        ("a", "vgg-a", None, (256, 256), 0.01),
        ("d-256", "vgg-d", "a", (256, 256), 0.01),
        ("d-384", "vgg-d", "d-256", (384, 384), 0.001),
        ("d-jitter", "vgg-d", "d-384", (256, 512), 0.001),
        ("e-jitter", "vgg-e", "e-384", (256, 512), 0.001),
    ],
)
def test_paper_trains_as_published(run, net, start, sides, rate):
    study = read_study("paper")
    recipe = study.recipe_of(run, 0)
    assert (recipe.net, study.runs[run].start, recipe.smallest_sides) == (net, start, sides)
    assert (recipe.optimizer.learning_rate, recipe.optimizer.batch) == (rate, 256)
    assert (recipe.schedule.kind, recipe.schedule.epochs, recipe.start.law) == ("plateau", 74, "paper")
    assert (recipe.optimizer.weight_decay, recipe.regularisation.dropout) == (5e-4, 0.5)


def test_sides_are_scaled_with_the_crop():
    assert scale_protocol("dense+multi-crop@256,384,512", 64) == "dense+multi-crop@73,110,146"
    assert scale_protocol("dense@224,256,288-mirror", 56) == "dense@56,64,72-mirror"
    assert scale_protocol("centre@256", 224) == "centre@256"
    tiny = read_study("tiny", {"crop": 56})
    assert tiny.recipe_of("d-jitter", 0).views.scale_jitter == (64, 128)
    assert tiny.recipe_of("d-384", 0).smallest_sides == (96, 96)
    assert tiny.protocol_of(Trial("d-256", "dense@224,256,288")) == "dense@56,64,72"


def test_parameters_are_given_as_text_or_value_and_become_what_they_are():
    study = read_study("tiny", {"classes": "10", "width": "0.5", "epochs": 3})
    assert (study.recipe_of("a", 1).classes, study.recipe_of("a", 1).width) == (10, 0.5)
    assert study.recipe_of("a", 1).schedule.epochs == 3
    assert study.recipe_of("a", 1).seed == 1


def test_a_study_on_top_of_another_changes_what_it_says():
    assert merge({"a": {"x": 1, "y": 2}, "b": 1}, {"a": {"y": 3}, "c": [1]}) == {
        "a": {"x": 1, "y": 3},
        "b": 1,
        "c": [1],
    }


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('[runs.a]\nrecipe.net = "vgg-a"', '[runs.a]\nrecipe.net = "vgg-a"\nweights = "b"', "circle: b from a from b"),
        ('graft = "a"', 'graft = "b"', "circle: b from b"),
        ('graft = "a"', 'graft = "aa"', "runs.b starts from aa, which is not a run; did you mean a?"),
        ('graft = "a"', 'graft = "a"\nweights = "a"', "graft and weights are both given"),
        ('"table-3"', '"table-33"', "table-33 is not a table; did you mean table-3?"),
        ('"a dense@256", "b dense@256"]\n\n', '"a dense@256", "b dense@384"]\n\n', "b is not tested by dense@384"),
        ('"a dense@256", "b dense@256"]\n\n', '"a dense@256", "c dense@256"]\n\n', "c is not a run"),
        ('[["b dense@256"', '[["d dense@256"', "d is not a run"),
        ('"vgg-a"\nseeds = "$seeds"', '"vgg-a"', "has 2 seeds, a, which it starts from, 1"),
        ('rate = 0.02\n', "", r"\$rate is not a parameter"),
        ('width = 0.03', "widht = 0.03", "runs.b: widht is not a key; write width"),
        ('"vgg-b"', '"vgg-c-bn"', "vgg-c-bn is not a net; did you mean"),
        ('"centre@256"', '"center@256"', "center is not a protocol"),
        ('"dense@256"]\n\n[fusions', '"dense@200"]\n\n[fusions', "dense@29"),
        ("[fusions.both]", "[fusions.a]", "the name of a run"),
        ('pairs = [["b dense@256", "a dense@256"], ["both", "a dense@256"]]', "pairs = []", "pairs"),
        ("[recipe]", "[recipee]", "recipee"),
        ("title", "title =", "is not TOML"),
    ],
)  # fmt: skip
def test_a_study_that_does_not_hold_together_is_refused_in_a_line_that_names_the_place(change, old, new, words):
    path = change(old, new)
    with pytest.raises(StudyError, match=words) as raised:
        read_study(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_parameter_that_is_not_there_or_of_another_type_is_refused(small):
    with pytest.raises(StudyError, match="epoch is not a parameter; did you mean epochs"):
        read_study(small, {"epoch": 1})
    for value in ("many", 3.7):
        with pytest.raises(StudyError, match=f"epochs is {value!r}; give a whole number"):
            read_study(small, {"epochs": value})


def test_a_study_like_itself_is_refused(small):
    small.write_text(f'like = "{small}"\n' + small.read_text())
    with pytest.raises(StudyError, match="is like itself"):
        read_study(small)


def test_a_study_that_is_not_there_is_named_with_those_that_are(tmp_path):
    known = (
        "cifar10, digits, googlenet-heads, localisation-paper, localisation-tiny, localisation-voc, overfit, paper, "
        "stall, tiny"
    )
    with pytest.raises(StudyError, match=rf"none\.toml: cannot be read .* one of {known}"):
        read_study(tmp_path / "none.toml")


def test_a_folder_of_a_studys_name_does_not_hide_it(tmp_path, monkeypatch):
    (tmp_path / "stall").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_study("stall").name == "stall"


def test_the_files_of_the_package_have_no_parameter_that_nothing_asks_for():
    for name, path in studies().items():
        text = path.read_text() + (studies()["paper"].read_text() if name == "tiny" else "")
        for parameter in tomllib.loads(path.read_text())["parameters"]:
            assert f'"${parameter}"' in text, f"{name}: {parameter}"
