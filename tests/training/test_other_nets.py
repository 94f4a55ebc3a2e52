"""Nets beside the paper's go the whole way: trained, saved, loaded, tested at every offset of their last pool."""

import pytest

from verydeep.data.open import open_dataset
from verydeep.evaluation.evaluate import evaluate
from verydeep.nets.registry import load_net
from verydeep.nets.stack import Stack
from verydeep.training.run import train

SIZES = {  # crop and hidden units of each, for pictures of 36 pixels; None: as published
    "deepcnet-5-32": {"crop": 32, "hidden": None},
    "nagadomi": {"crop": 24},
    "alexnet-small": {"crop": 35},
    "googlenet": {"crop": 32, "hidden": None, "regularisation": {"dropout": 0.4, "side_heads": 0.3}},
    "spp-net": {"crop": 64, "views": {"smallest_side": 72, "sides": [64, 48]}},
}


@pytest.mark.slow  # they train
@pytest.mark.parametrize("name", SIZES)
def test_a_net_is_trained_saved_and_tested(name, small, tmp_path):
    recipe = small(net=name, width=0.1, start={"law": "own"}, **SIZES[name])
    net, _ = load_net(train(recipe, run=tmp_path / "run").folder)
    assert net.name == name
    assert (net.mean.unique().tolist() == [128]) == (name == "deepcnet-5-32")  # others take their pictures' colours
    data = open_dataset(recipe.data, split="val")
    side = recipe.views.smallest_side
    fine = [f"fine@{side + 4}+maximum"] if isinstance(net, Stack) else []  # which nets with branches refuse
    table = evaluate(net, data, [f"centre@{side}", f"dense@{side + 4}", *fine], device="cpu")
    assert all(0 <= row["top1_error"] <= 1 for row in table.rows)
    costs = [row["cost_ratio"] for row in table.rows]
    assert costs == sorted(costs)
