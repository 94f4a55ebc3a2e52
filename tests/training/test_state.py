import torch

from verydeep.data.feed import Batch
from verydeep.training.state import Progress


def count(progress, losses):
    batch = Batch(
        torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 3, 1, 1), torch.zeros(2, dtype=torch.int64)
    )
    for loss in losses:
        progress.count(batch, torch.tensor(loss), torch.tensor(1.0))


def test_the_first_recent_losses_are_plain_means():
    progress = Progress(micro_batch=2)
    count(progress, [4.0, 2.0, 3.0])
    torch.testing.assert_close(progress.recent, torch.tensor(3.0))


def test_the_recent_loss_forgets_a_long_beginning_that_the_mean_of_the_epoch_remembers():
    progress = Progress(micro_batch=2)
    count(progress, [2.0] * 1800 + [1.0] * 200)
    mean = progress.sums[0].item() / progress.seen
    assert mean > 1.85
    assert progress.recent.item() < 1.2  # 1 + 0.99 ** 200


def test_an_epoch_begins_with_empty_sums_and_goes_on_counting_steps():
    progress = Progress(micro_batch=2)
    count(progress, [2.0, 2.0])
    assert (progress.seen, progress.step, progress.sums.tolist()) == (4, 2, [8.0, 2.0])
    progress.next_epoch()
    assert (progress.epoch, progress.step_in_epoch, progress.seen, progress.step) == (1, 0, 0, 2)
    assert progress.sums.tolist() == [0.0, 0.0]
