import json
import math
import re
import tomllib
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verydeep.errors import RecipeError
from verydeep.nets.registry import create_net
from verydeep.training.recipe import Recipe, known_keys, parse_recipe, read_recipe, recipes
from verydeep.training.schedule import rate_factor

PAPER = {
    "start.deviation": 0.01,
    "optimizer.learning_rate": 0.01,
    "optimizer.momentum": 0.9,
    "optimizer.weight_decay": 0.0005,
    "optimizer.batch": 256,
    "schedule.epochs": 74,
    "schedule.drops": 3,
    "schedule.factor": 10,
    "regularisation.dropout": 0.5,
    "crop": 224,
}


def refusal(text, tmp_path):
    path = tmp_path / "d.toml"
    path.write_text(text)
    with pytest.raises(RecipeError) as raised:
        read_recipe(path)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize(("key", "value"), PAPER.items())
def test_defaults_are_those_of_section_3_1(key, value):
    *table, name = key.split(".")
    recipe = Recipe(net="vgg-d")
    assert getattr(getattr(recipe, table[0]) if table else recipe, name) == value


def test_s_is_256_by_default():
    assert Recipe(net="vgg-d").smallest_sides == (256, 256)


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("optimizer.lr = 1", "optimizer.learning_rate"),
        ("lr = 1", "optimizer.learning_rate"),
        ("momentm = 1", "optimizer.momentum"),
        ("schedule.knd = 1", "schedule.kind"),
        ("knd = 1", "kind"),
        ("model = 'vgg-d'", "net"),
        ("optimizer.batch_size = 1", "optimizer.batch"),
        ("views.flip = true", "views.mirror"),
        ("zzz = 1", ""),
    ],
)
def test_an_unknown_key_is_said_with_the_nearest_known_one(written, known, tmp_path):
    message = refusal(f"net = 'vgg-d'\n{written}\n", tmp_path)
    assert message.startswith(f"{written.split(' ')[0]} is not a key; write {known}")


def test_unknown_keys_are_said_first_then_bad_values_then_missing_ones(tmp_path):
    assert refusal("crop = -1\n[optimizer]\nlr = 1\n", tmp_path).startswith("optimizer.lr is not a key")
    assert refusal("crop = -1\n", tmp_path).startswith("crop is -1: ")
    assert refusal("crop = 64\n", tmp_path) == "net is missing; the only key without a default"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("crop = 0", "crop"),
        ("crop = 1.5", "crop"),
        ("crop = true", "crop"),
        ("crop = '64'", "crop"),
        ("seed = -1", "seed"),
        ("optimizer.learning_rate = 0", "optimizer.learning_rate"),
        ("optimizer.learning_rate = inf", "optimizer.learning_rate"),
        ("optimizer.learning_rate = nan", "optimizer.learning_rate"),
        ("optimizer.momentum = 1", "optimizer.momentum"),
        ("optimizer.batch = 0", "optimizer.batch"),
        ("views.mirror = 'yes'", "views.mirror"),
        ("views.method = 'crops'", "views.method"),
        ("views.scale_jitter = [64]", "views.scale_jitter"),
        ("validation.held_out = 1.0", "validation.held_out"),
        ("schedule.milestones = [1, true]", "schedule.milestones"),
        ("optimizer = 3", "optimizer"),
    ],
)
def test_an_impossible_value_is_said_with_its_key(text, key, tmp_path):
    assert refusal(f"net = 'vgg-d'\n{text}\n", tmp_path).startswith(f"{key} is ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("views.smallest_side = 200", "views.smallest_side is 200, less than the crop, 224; use 224 or more"),
        ("views.scale_jitter = [512, 256]", r"views.scale_jitter is [512, 256]; write the smaller side first"),
        ("views = {smallest_side = 256, scale_jitter = [256, 512]}", "views.smallest_side and views.scale_jitter"),
        ("views = {sides = [224, 180], side_jitter = [180, 224]}", "views.sides and views.side_jitter are both given"),
        ("views.side_jitter = [224, 180]", "views.side_jitter is [224, 180]; write the smaller side first"),
        ("views.sides = [256, 180]", "views.sides has 256 px, more than the crop, 224; use 224 or less"),
        ("views.area = [0.5, 0.2]", "views.area is [0.5, 0.2]; use two shares in (0, 1]"),
        ("views.mirror = 'alternate'", 'views.mirror = "alternate" goes with views.method = "shift"'),
        ("views = {method = 'ten-crop', scale_jitter = [256, 512]}", 'views.method = "ten-crop" takes one scale'),
        ("start.layers = 'convolutional'", "start.layers says which layers of start.weights are taken"),
        ("views.cutout = 3", 'views.cutout goes with views.method = "shift"; leave it out'),
        ("views = {method = 'shift', smallest_side = 256}", 'views.method is "shift"; leave out smallest_side,'),
        ("views = {method = 'shift', shift = 300}", "views.shift and views.cutout are less than the crop, 224 px"),
        ("loss = 'squared'\nregularisation.balanced = true", 'loss = "squared" knows no label_smoothing'),
        ("start = {graft = 'a', weights = 'b'}", "start.graft and start.weights are both given; leave one out"),
        ("schedule.milestones = [30]", 'schedule.milestones go with schedule.kind = "milestones"'),
        ("schedule = {epochs = 2, warm_up = 2.0}", "schedule.warm_up is 2.0; use less than schedule.epochs, 2"),
    ],
)  # fmt: skip
def test_values_that_do_not_go_together_are_refused(text, message, tmp_path):
    assert refusal(f"net = 'vgg-d'\n{text}\n", tmp_path).startswith(message)


@pytest.mark.parametrize("content", [b"net = ", b"\xff\xfe", b"net = 'a'\nnet = 'b'\n"])
def test_what_is_not_toml_is_refused(content, tmp_path):
    path = tmp_path / "d.toml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"d\.toml: is not TOML"):
        read_recipe(path)


def test_a_missing_file_is_refused_with_the_names_of_the_recipes_that_there_are():
    with pytest.raises(RecipeError, match=r"no\.toml: cannot be read \(No such file or directory\); .* ilsvrc-a"):
        read_recipe("no.toml")


@pytest.mark.parametrize("name", recipes())
def test_the_recipes_of_the_package_are_of_nets_that_there_are(name):
    recipe = read_recipe(name)
    with torch.device("meta"):
        net = create_net(recipe.net, width=recipe.width, crop=recipe.crop, hidden=recipe.hidden)
    assert net.crop == recipe.crop


def test_the_papers_chain_of_starts_is_there_as_recipes():
    """S = 384 starts from S = 256 and the jittered net from S = 384, at a tenth of the rate. Source: section 3.1."""
    first, second, third = (read_recipe(f"ilsvrc-d-{step}") for step in ("256", "384", "jitter"))
    assert first.start.graft == "runs/ilsvrc-a"
    assert (second.start.weights, third.start.weights) == ("runs/ilsvrc-d-256", "runs/ilsvrc-d-384")
    assert [each.smallest_sides for each in (first, second, third)] == [(256, 256), (384, 384), (256, 512)]
    assert [each.optimizer.learning_rate for each in (first, second, third)] == [0.01, 0.001, 0.001]
    assert [each.validation_protocol for each in (first, second, third)] == ["centre@256", "centre@384", "centre@384"]


@pytest.mark.parametrize("passed", [0.0, 0.5, 1.0, 7.25, 18.99, 19.0, 19.5])
def test_the_rate_of_nagadomi_is_the_one_of_his_program(passed):
    """Torch's velocity takes 1 - 0.9 of each gradient; a pass is 1.8 million views. Source: his train.lua."""
    recipe = read_recipe("nagadomi")
    updates = passed * 1_800_000 / 64
    his = 1.0 / (1 + 5e-6 * updates) if passed < 19 else 0.01
    ours = recipe.optimizer.learning_rate * rate_factor(recipe.schedule, 36 * passed, drops=0)
    assert recipe.schedule.epochs == 20 * 36
    assert ours == pytest.approx((1 - recipe.optimizer.momentum) * his)


def test_deepcnet_is_distorted_to_the_end_and_its_rate_is_the_one_of_his_example():
    recipe = read_recipe("deepcnet")
    assert (recipe.views.method, recipe.views.plain, recipe.schedule.tail) == ("distort", 0, 0)
    ours = recipe.optimizer.learning_rate * rate_factor(recipe.schedule, 100.0, drops=0)
    assert ours == pytest.approx((1 - recipe.optimizer.momentum) * 0.003 * math.exp(-0.02 * 100))


def test_the_protocol_of_validation_can_be_chosen_and_else_fits_the_views():
    def protocol(**views):
        return parse_recipe({"net": "vgg-a", "crop": 56, "views": views}).validation_protocol

    assert protocol() == "centre@64"
    assert protocol(scale_jitter=[64, 80]) == "centre@72"
    assert protocol(method="random-resized", smallest_side=40) == "centre"
    assert protocol(method="shift") == protocol(method="distort") == "centre@56"
    assert protocol(method="nagadomi-36") == "nagadomi-36"
    chosen = parse_recipe({"net": "vgg-a", "validation": {"protocol": "dense@256"}})
    assert chosen.validation_protocol == "dense@256"


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1)
fractions = st.floats(0, 1, exclude_max=True)
recipe_values = st.fixed_dictionaries(
    {"net": texts},
    optional={
        "data": texts,
        "seed": st.integers(0, 2**63 - 1),
        "width": st.floats(1e-3, 64),
        "start": st.fixed_dictionaries({}, optional={"graft": texts, "standardise": st.booleans()}),
        "optimizer": st.fixed_dictionaries({}, optional={"learning_rate": st.floats(1e-300, 1e300),
                                                         "micro_batch": st.integers(1, 10**6)}),
        "schedule": st.fixed_dictionaries({"kind": st.just("milestones"),
                                           "milestones": st.lists(st.integers(0, 100), min_size=1)}),
        "views": st.fixed_dictionaries({}, optional={"scale_jitter": st.tuples(st.just(230), st.integers(230, 999)),
                                                     "area": st.tuples(st.floats(0.01, 0.5), st.floats(0.5, 1))}),
        "regularisation": st.fixed_dictionaries({}, optional={"weight_average": fractions}),
        "validation": st.fixed_dictionaries({}, optional={"held_out": fractions, "images": st.integers(1)}),
    },
)  # fmt: skip


@given(recipe_values)
def test_a_recipe_written_as_toml_is_read_as_the_same(values):
    recipe = parse_recipe(values)
    assert parse_recipe(tomllib.loads(recipe.to_toml())) == recipe


def test_a_recipe_cannot_be_changed():
    recipe = Recipe(net="vgg-a")
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1


def test_known_keys_are_those_that_a_recipe_writes():
    recipe = parse_recipe({
        "net": "vgg-a", "data": "d", "kind": "folders", "classes": 2, "hidden": 3, "start": {"graft": "a"},
        "optimizer": {"micro_batch": 2}, "views": {"smallest_side": 300}, "boxes": {"regression": "scr"},
        "validation": {"held_out": 0.1, "protocol": "dense", "images": 5}, "compute": {"threads": 1, "memory": 2.0},
    })  # fmt: skip
    written = tomllib.loads(recipe.to_toml())
    keys = [f"{name}.{key}" if isinstance(value, dict) else name
            for name, value in written.items() for key in (value if isinstance(value, dict) else [name])]  # fmt: skip
    excluded = {"start.weights", "views.scale_jitter", "views.side_jitter"}  # by others
    assert sorted(keys) == sorted(set(known_keys()) - excluded)


def test_the_page_on_training_has_every_key_with_its_default():
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `([a-z0-9_.]+)` \| (.*?) ?\| ", page, re.MULTILINE))
    written = tomllib.loads(Recipe(net="").to_toml())
    defaults = dict.fromkeys(known_keys(), "")
    for name, value in written.items():
        entries = {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
        defaults |= {key: json.dumps(each) for key, each in entries.items()}
    assert {key: rows.get(key) for key in defaults} == defaults | {"net": ""}
