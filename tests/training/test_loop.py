import copy
import math

import pytest
import torch
from torch.nn import functional as F

from verydeep.errors import DeviceError, TrainingError
from verydeep.nets.stack import Stack
from verydeep.training.loop import Epoch, Step, judge, set_modes, train_epochs

NO_DROPOUT = {"dropout": 0.0}


def wrong_by(error):
    """A validation that always finds the same error."""
    return lambda net: {"top1_error": error, "top5_error": error}


def run(recipe, prepared, steps=None):
    """What the loop yields, whole or up to a step; and the weights afterwards."""
    state, feed, compute = prepared
    yielded = []
    loop = train_epochs(state, feed, wrong_by(0.5), recipe, compute)
    for measured in loop:
        yielded.append(measured)
        if steps and measured.step == steps:
            loop.close()
    return yielded, {name: value.clone() for name, value in state.net.state_dict().items()}


def test_the_loop_yields_every_step_and_then_the_epoch(small, ready):
    recipe = small(schedule={"epochs": 2})
    yielded, _ = run(recipe, ready(recipe))
    assert [(type(each), each.step) for each in yielded] == [
        (Step, 1), (Step, 2), (Step, 3), (Step, 4), (Step, 5), (Epoch, 5),
        (Step, 6), (Step, 7), (Step, 8), (Step, 9), (Step, 10), (Epoch, 10),
    ]  # fmt: skip
    steps, epoch = yielded[:5], yielded[5]
    assert epoch.loss == pytest.approx(sum(float(step.loss) * step.pictures for step in steps) / 24)
    assert epoch.top1_error == sum(float(step.wrong) for step in steps) / 24


def test_a_batch_in_parts_gives_the_same_weights(small, ready):
    whole = small(regularisation=NO_DROPOUT)
    parts = small(regularisation=NO_DROPOUT, optimizer={"micro_batch": 2})
    yielded, weights = run(whole, ready(whole))
    yielded_by_parts, weights_by_parts = run(parts, ready(parts))
    for name, value in weights.items():  # ten steps; sums of the same numbers in another order
        torch.testing.assert_close(weights_by_parts[name], value, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close([e.loss for e in yielded], [e.loss for e in yielded_by_parts], check_dtype=False,
                               rtol=1e-3, atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("decay_biases", [False, True])
def test_three_steps_are_gradient_descent_with_momentum_and_l2(small, ready, decay_biases):
    rate, momentum, decay = 0.02, 0.9, 0.05
    optimizer = {"learning_rate": rate, "weight_decay": decay, "decay_biases": decay_biases, "batch": 8}
    recipe = small(net="vgg-a-bn", optimizer=optimizer, schedule={"kind": "plateau"}, regularisation=NO_DROPOUT)
    state, feed, compute = prepared = ready(recipe)
    twin = copy.deepcopy(state.net).train()
    velocities = {name: torch.zeros_like(weight) for name, weight in twin.named_parameters()}
    for batch in feed.batches(0):  # three steps
        twin.zero_grad()
        ((pixels, labels),) = batch.parts(8, compute.device)
        F.cross_entropy(twin(pixels), labels).backward()
        with torch.no_grad():
            for name, weight in twin.named_parameters():
                is_decayed = decay_biases or weight.dim() > 1  # not biases, nor scales and shifts
                gradient = weight.grad + decay * weight * is_decayed
                velocities[name] = momentum * velocities[name] + gradient
                weight -= rate * velocities[name]
    _, weights = run(recipe, prepared, steps=3)
    for name, value in twin.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5)  # a fused step rounds differently


def test_losses_of_side_heads_are_added_with_their_weight_and_not_reported(small, ready):
    chosen = {"dropout": 0.0, "side_heads": 0.3}
    recipe = small(net="googlenet", hidden=None, width=0.0625, regularisation=chosen, optimizer={"batch": 8})
    state, feed, compute = prepared = ready(recipe)
    twin = copy.deepcopy(state.net).train()
    pixels, labels = next(next(iter(feed.batches(0))).parts(8, compute.device))
    main, *sides = (F.cross_entropy(scores, labels) for scores in twin.training_scores(pixels))
    assert len(sides) == 2
    (main + 0.3 * sides[0] + 0.3 * sides[1]).backward()
    yielded, _ = run(recipe, prepared, steps=1)
    torch.testing.assert_close(yielded[0].loss, main.detach())
    for (name, found), by_hand in zip(state.net.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found.grad, by_hand.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_side_heads_leave_the_start_of_the_net_itself_as_it_is(small, ready):
    for law in ("he", "own", "glorot"):
        changes = {"net": "googlenet", "hidden": None, "width": 0.0625, "start": {"law": law}}
        plain = ready(small(**changes))[0].net
        with_heads = ready(small(**changes, regularisation={"side_heads": 0.3}))[0].net
        weights = with_heads.state_dict()
        assert len(weights) > len(plain.state_dict())
        assert all(torch.equal(weights[name], value) for name, value in plain.state_dict().items())


def test_label_smoothing_is_the_cross_entropy_with_mixed_targets(small, ready):
    recipe = small(regularisation={"dropout": 0.0, "label_smoothing": 0.1})
    state, feed, compute = prepared = ready(recipe)
    ((pixels, labels),) = next(iter(feed.batches(0))).parts(5, compute.device)
    targets = 0.9 * F.one_hot(labels, 3) + 0.1 / 3
    with torch.no_grad():
        by_hand = -(targets * state.net(pixels).log_softmax(dim=1)).sum(dim=1).mean()
    yielded, _ = run(recipe, prepared, steps=1)
    torch.testing.assert_close(yielded[0].loss, by_hand)


def test_the_squared_loss_is_the_mean_square_over_classes_of_posteriors_against_the_truth(small, ready):
    recipe = small(loss="squared")
    scores, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 2])
    losses, wrong = judge(scores, recipe, None, labels)
    posteriors = (scores.double().exp().T / scores.double().exp().sum(dim=1)).T
    for row in range(4):
        truth = [float(label == labels[row]) for label in range(3)]
        by_hand = sum((posteriors[row, label].item() - truth[label]) ** 2 for label in range(3)) / 3
        assert losses[row].item() == pytest.approx(by_hand, rel=1e-5)
    assert wrong.tolist() == (scores.argmax(1) != labels).tolist()


def test_memory_that_runs_out_halves_the_parts_and_changes_nothing_else(small, ready):
    class Small(Stack):
        """A net that has memory for two pictures."""

        def forward(self, pixels):
            if len(pixels) > 2:
                raise torch.OutOfMemoryError
            return super().forward(pixels)

    recipe = small(regularisation=NO_DROPOUT, optimizer={"micro_batch": 2})
    _, weights = run(recipe, ready(recipe))
    recipe = small(regularisation=NO_DROPOUT)
    prepared = ready(recipe)
    prepared[0].net.__class__ = Small
    _, weights_of_small = run(recipe, prepared)
    assert prepared[0].progress.micro_batch == 2
    for name, value in weights.items():
        torch.testing.assert_close(weights_of_small[name], value, rtol=1e-3, atol=1e-5)


def test_too_little_memory_for_one_picture_is_said(small, ready):
    class Empty(Stack):
        def forward(self, pixels):
            raise torch.OutOfMemoryError

    prepared = ready(small())
    prepared[0].net.__class__ = Empty
    with pytest.raises(DeviceError, match="too little memory for one picture"):
        run(small(), prepared)


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_rate(small, ready):
    recipe = small(optimizer={"learning_rate": 1e12})
    with pytest.raises(TrainingError, match=r"step 5: the loss is not finite; lower optimizer\.learning_rate"):
        run(recipe, ready(recipe))


def test_the_stall_guard_ends_the_run_of_a_dead_net_with_the_scale_of_each_layer(small, ready):
    recipe = small(stall_steps=5, start={"law": "paper", "deviation": 1e-4, "standardise": False})
    with pytest.raises(TrainingError) as raised:
        run(recipe, ready(recipe))
    message = str(raised.value)
    assert message.startswith("step 5: the loss is 1.1")
    assert f"still at ln 3 = {math.log(3):.4f}; signals fade to " in message
    assert "or with vgg-a-bn" in message
    assert all(layer in message for layer in ("conv1_1 ", "conv5_2 ", "fc6 ", "fc8 "))


def test_the_stall_guard_lets_a_learning_net_go_on(small, ready):
    recipe = small(net="vgg-a-bn", stall_steps=25, schedule={"epochs": 6}, regularisation=NO_DROPOUT)
    yielded, _ = run(recipe, ready(recipe))
    assert yielded[-1].step == 30


def test_training_the_fully_connected_layers_alone_leaves_all_others_as_they_were(small, ready):
    recipe = small(net="vgg-a-bn", start={"train": "fully-connected"})
    prepared = ready(recipe)
    before = {name: value.clone() for name, value in prepared[0].net.state_dict().items()}
    _, after = run(recipe, prepared)
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"fc6", "fc7", "fc8"}  # not the statistics of normalisations either


def test_modes_are_those_of_training_whatever_validation_did(small, ready):
    recipe = small(net="vgg-a-bn")
    net = ready(recipe)[0].net
    net.eval()
    set_modes(net)
    assert all(module.training for module in net.modules())


def test_validation_is_done_as_often_as_the_recipe_says_and_at_the_end(small, ready):
    recipe = small(validation={"every": 3}, schedule={"epochs": 5})
    yielded, _ = run(recipe, ready(recipe))
    assert [bool(each.validation) for each in yielded if isinstance(each, Epoch)] == [False, False, True, False, True]


def test_the_plateau_drops_the_rate_thrice_and_ends_the_run(small, ready):
    recipe = small(schedule={"kind": "plateau", "epochs": 50, "patience": 2}, optimizer={"batch": 24})
    yielded, _ = run(recipe, ready(recipe))
    rates = [each.learning_rate for each in yielded if isinstance(each, Epoch)]
    assert rates == pytest.approx([0.02] * 3 + [0.002] * 2 + [0.0002] * 2 + [0.00002] * 2)


def test_a_plan_made_beforehand_is_not_ended_by_a_plateau(small, ready):
    recipe = small(schedule={"kind": "cosine", "epochs": 12, "patience": 1, "drops": 0}, optimizer={"batch": 24})
    yielded, _ = run(recipe, ready(recipe))
    assert yielded[-1].epoch == 11


def test_bfloat16_learns_in_single_precision_weights(small, ready):
    recipe = small(net="vgg-a-bn", schedule={"epochs": 4}, regularisation=NO_DROPOUT)
    state, feed, compute = ready(recipe)
    narrow = type(compute)(compute.device, torch.bfloat16, compute.layout)
    losses = [e.loss for e in train_epochs(state, feed, wrong_by(0.5), recipe, narrow) if isinstance(e, Epoch)]
    assert losses[-1] < losses[0]
    assert all(weight.dtype == torch.float32 for weight in state.net.parameters())
