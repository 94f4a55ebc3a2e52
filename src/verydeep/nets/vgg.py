"""The paper's nets A to E: five blocks of convolutions, then three fully connected layers."""

from collections.abc import Iterator

from verydeep.nets.layers import Layer

CHANNELS = (64, 128, 256, 512, 512)  # of the five blocks of every configuration
HIDDEN = 4096  # units of fc6 and of fc7
KERNELS = {  # kernel sizes of each block's convolutions. Source: table 1; 5x5: section 4.1
    "a": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "b": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "b-5x5": ((5,), (5,), (5,), (5,), (5,)),
    "c": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "d": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "e": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
STRIDE = 32  # pixels between two cells of a score map: five pools of 2


def vgg_layers(
    configuration: str,
    num_classes: int = 1000,
    width: float = 1.0,
    crop: int = 224,
    hidden: int | None = None,
    *,
    batch_norm: bool = False,
    lrn: bool = False,
) -> Iterator[Layer]:
    """The layers of a configuration of table 1, in the order of the data.

    Args:
        configuration: a key of `KERNELS`.
        num_classes: outputs of fc8.
        width: factor on all channels and on the units of fc6 and fc7.
        crop: side of the picture whose score map is one cell, in pixels, at least 32.
        hidden: units of fc6 and fc7 instead of 4096 × width.
        batch_norm: a batch normalisation after every convolution (not in the paper).
        lrn: local response normalisation after conv1_1's ReLU: A-LRN.

    Source: table 1 and section 2.1.
    """
    inputs = 3
    for block, (channels, kernels) in enumerate(zip(CHANNELS, KERNELS[configuration], strict=True), start=1):
        outputs = max(1, round(channels * width))
        for index, kernel in enumerate(kernels, start=1):
            yield Layer(f"conv{block}_{index}", "conv", inputs, outputs, kernel, padding=kernel // 2)
            if batch_norm:
                yield Layer(f"norm{block}_{index}", "norm", outputs, outputs)
            yield Layer(f"relu{block}_{index}", "relu", outputs, outputs)
            inputs = outputs
        if lrn and block == 1:
            yield Layer("lrn1", "lrn", inputs, inputs)
        yield Layer(f"pool{block}", "pool", inputs, inputs, kernel=2, stride=2)
    units = hidden or max(1, round(HIDDEN * width))
    for number, kernel in ((6, crop // STRIDE), (7, 1)):
        yield Layer(f"fc{number}", "fc", inputs, units, kernel)
        yield Layer(f"relu{number}", "relu", units, units)
        yield Layer(f"dropout{number}", "dropout", units, units)
        inputs = units
    yield Layer("fc8", "fc", inputs, num_classes)
