"""Files are written with the protobuf package by Caffe's schema, of which these are the messages that matter here."""

import numpy as np
import pytest
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from verydeep.errors import WeightsError
from verydeep.nets.local_response import LocalResponseNorm
from verydeep.nets.registry import NETS, create_net, load_net, read_net
from verydeep.weights.caffe import read_caffe

SCHEMA = {  # message: field, number, type; * for repeated, ** for repeated and packed. Source: caffe.proto
    "BlobShape": "dim 1 int64 **",
    "BlobProto": """shape 7 BlobShape, data 5 float **, diff 6 float **, double_data 8 double **, num 1 int32,
        channels 2 int32, height 3 int32, width 4 int32""",
    "ConvolutionParameter": """num_output 1 uint32, pad 3 uint32 *, kernel_size 4 uint32 *, group 5 uint32,
        stride 6 uint32 *, pad_h 9 uint32, pad_w 10 uint32, kernel_h 11 uint32, kernel_w 12 uint32""",
    "PoolingParameter": "pool 1 int32, kernel_size 2 uint32, stride 3 uint32, pad 4 uint32",
    "LRNParameter": "local_size 1 uint32, alpha 2 float, beta 3 float, norm_region 4 int32, k 5 float",
    "InnerProductParameter": "num_output 1 uint32",
    "TransformationParameter": "crop_size 3 uint32, mean_file 4 string, mean_value 5 float *",
    "V0LayerParameter": "name 1 string, type 2 string, blobs 50 BlobProto *",
    "V1LayerParameter": """layer 1 V0LayerParameter, bottom 2 string *, top 3 string *, name 4 string, type 5 int32,
        blobs 6 BlobProto *, blobs_lr 7 float *, convolution_param 10 ConvolutionParameter,
        inner_product_param 17 InnerProductParameter, lrn_param 18 LRNParameter, pooling_param 19 PoolingParameter,
        transform_param 36 TransformationParameter""",
    "LayerParameter": """name 1 string, type 2 string, bottom 3 string *, top 4 string *, blobs 7 BlobProto *,
        transform_param 100 TransformationParameter, convolution_param 106 ConvolutionParameter,
        inner_product_param 117 InnerProductParameter, lrn_param 118 LRNParameter,
        pooling_param 121 PoolingParameter""",
    "NetParameter": "name 1 string, layers 2 V1LayerParameter *, input 3 string *, layer 100 LayerParameter *",
}
KINDS = {"conv": ("Convolution", 4), "fc": ("InnerProduct", 14), "lrn": ("LRN", 15), "pool": ("Pooling", 17)}
KINDS |= {"relu": ("ReLU", 18), "dropout": ("Dropout", 6), "data": ("Data", 5), "join": ("Concat", 3)}
KINDS["mean"] = KINDS["pool"]
MEAN = torch.tensor([103.939, 116.779, 123.68])[:, None, None]  # BGR
RESPONSES = {"paper": (5, 5e-4, 0.75, 2.0), "caffe": (5, 1e-4, 0.75, 1.0)}


def schema():
    types = dict(descriptor_pb2.FieldDescriptorProto.Type.items())
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for field in fields.split(","):
            word, number, kind, *repeated = field.split()
            added = message.field.add(name=word, number=int(number), label=3 if repeated else 1)
            if kind in SCHEMA:
                added.type, added.type_name = types["TYPE_MESSAGE"], f".caffe.{kind}"
            else:
                added.type = types[f"TYPE_{kind.upper()}"]
            added.options.packed = repeated == ["**"]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


NetParameter = schema()


def plan_of(name, **sizes):
    """A net's layers, and weights as Caffe has them: for BGR, fully connected layers as matrices."""
    description = NETS[name]
    sizes = {"num_classes": 7, "width": 1 / 16, "crop": description.crop, "hidden": 24} | sizes
    generator = torch.Generator().manual_seed(3)
    layers = list(description.build(**sizes))
    blobs = {}
    for layer in layers:
        if layer.has_weights:
            inputs = layer.inputs // layer.groups
            shape = (layer.outputs, inputs, layer.kernel, layer.kernel)
            weight = torch.randn(shape, generator=generator) * (2 / weight_count(shape)) ** 0.5
            weight = weight.flatten(1) if layer.kind == "fc" else weight
            blobs[layer.name] = weight, torch.rand(layer.outputs, generator=generator)
    return layers, blobs


def weight_count(shape):
    return shape[1] * shape[2] * shape[3]


def write(
    path, layers, blobs, version=1, shaped=False, double=False, mean=None, params=True, kernel_word="kernel_size"
):
    """A .caffemodel of layers and blobs."""
    net = NetParameter(name="some net")
    add = net.layers.add if version == 1 else net.layer.add
    kind = version == 1
    data = add(name="data", type=KINDS["data"][kind])
    if mean is not None:
        data.transform_param.mean_value.extend(mean)
    below = "data"
    for layer in layers:
        name = layer.name.replace("lrn", "norm")
        made = add(name=name, type=KINDS[layer.kind][kind], bottom=[below], top=[name])
        below = name
        if params and layer.kind == "conv":
            made.convolution_param.num_output = layer.outputs
            if kernel_word == "kernel_size":
                made.convolution_param.kernel_size.append(layer.kernel)
            else:
                made.convolution_param.kernel_h = made.convolution_param.kernel_w = layer.kernel
            if layer.stride != 1:
                made.convolution_param.stride.append(layer.stride)
            if layer.padding:
                made.convolution_param.pad.append(layer.padding)
            if layer.groups != 1:
                made.convolution_param.group = layer.groups
        if params and layer.kind in ("pool", "mean"):
            made.pooling_param.kernel_size, made.pooling_param.stride = layer.kernel, layer.stride
            made.pooling_param.pool, made.pooling_param.pad = int(layer.kind == "mean"), layer.padding
        if params and layer.kind == "lrn":
            size, alpha, beta, k = RESPONSES[layer.reading]
            made.lrn_param.local_size, made.lrn_param.alpha, made.lrn_param.beta = size, alpha, beta
            if k != 1:
                made.lrn_param.k = k
        for numbers in blobs.get(layer.name, ()):
            blob = made.blobs.add()
            getattr(blob, "double_data" if double else "data").extend(numbers.flatten().tolist())
            if shaped:
                blob.shape.dim.extend(numbers.shape)
            else:
                blob.num, blob.channels, blob.height, blob.width = (1,) * (4 - numbers.dim()) + tuple(numbers.shape)
    path.write_bytes(net.SerializeToString())
    return path


def by_hand(layers, blobs, pixels, mean=MEAN):
    """What Caffe makes of pixels, RGB: its own order of colours, its own rounding, its own normalisation."""
    maps = pixels.flip(1).double() - mean
    made = {}
    for layer in layers:
        maps = torch.cat([made[name] for name in layer.after], dim=1) if layer.after else maps
        match layer.kind:
            case "conv":
                weight, bias = (numbers.double() for numbers in blobs[layer.name])
                maps = F.conv2d(maps, weight, bias, layer.stride, layer.padding, groups=layer.groups)
            case "fc":
                weight, bias = (numbers.double() for numbers in blobs[layer.name])
                maps = maps.flatten(1) @ weight.T + bias
            case "relu":
                maps = maps.clamp(min=0)
            case "pool":
                maps = F.max_pool2d(maps, layer.kernel, layer.stride, layer.padding, ceil_mode=True)
            case "mean":
                maps = F.avg_pool2d(maps, layer.kernel, layer.stride)
            case "lrn":
                size, alpha, beta, k = RESPONSES[layer.reading]
                squares = F.pad(maps**2, (0, 0, 0, 0, size // 2, size // 2)).unfold(1, size, 1).sum(-1)
                maps = maps / (k + alpha / size * squares) ** beta
        made[layer.name] = maps
    return maps


def relative(ours, theirs):
    return float((ours - theirs).abs().max() / theirs.abs().max())


FORMS = {
    "V1": {},
    "V2": {"version": 2},
    "V2 with shapes": {"version": 2, "shaped": True},
    "V1 of doubles": {"double": True},
    "V2 with kernel_h": {"version": 2, "kernel_word": "kernel_h"},
    "without parameters": {"params": False},
}


@torch.inference_mode()
@pytest.mark.parametrize("form", FORMS)
def test_a_vgg_net_scores_a_photograph_as_caffe_does(form, tmp_path, photograph):
    layers, blobs = plan_of("vgg-d", crop=64)
    path = write(tmp_path / "some.caffemodel", layers, blobs, **FORMS[form])
    net, card = load_net(path)
    assert (net.name, net.crop, net.width, net.hidden) == ("vgg-d", 64, 1 / 16, 24)
    assert (card["library"], net.classes) == ("caffe", tuple("0123456"))
    assert relative(net(photograph(64)), by_hand(layers, blobs, photograph(64))) < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize(
    "name", ["vgg-a", "vgg-a-lrn", "vgg-c", "vgg-e", "cnn-f", "cnn-m", "cnn-m-128", "cnn-s", "alexnet-caffe"]
)
def test_each_net_is_recognised_by_its_layers(name, tmp_path, photograph):
    hidden = None if name == "cnn-m-128" else 24
    layers, blobs = plan_of(name, hidden=hidden, **({} if "vgg" not in name else {"crop": 32}))
    mean = torch.tensor([104.0069879, 116.6687676, 122.6789143])[:, None, None] if "alexnet" in name else MEAN
    net, _ = load_net(write(tmp_path / "some.caffemodel", layers, blobs, version=2, shaped=True))
    assert net.name == name
    assert relative(net(photograph(net.crop)), by_hand(layers, blobs, photograph(net.crop), mean)) < 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("version", [1, 2])
def test_googlenet_comes_without_the_side_heads_of_its_training(version, tmp_path, photograph):
    layers, blobs = plan_of("googlenet", hidden=None, side_heads=True)
    net, _ = load_net(write(tmp_path / "some.caffemodel", layers, blobs, version=version))
    own = [layer for layer in layers if not layer.name.startswith(("loss1", "loss2"))]
    mean = torch.tensor([104.0, 117.0, 123.0])[:, None, None]
    assert net.name == "googlenet"
    assert relative(net(photograph(224)), by_hand(own, blobs, photograph(224), mean)) < 1e-5


@torch.inference_mode()
def test_colours_in_the_wrong_order_would_be_noticed(tmp_path, photograph):
    layers, blobs = plan_of("vgg-a", crop=32)
    net, _ = load_net(write(tmp_path / "some.caffemodel", layers, blobs))
    right = by_hand(layers, blobs, photograph(32))
    assert relative(net(photograph(32).flip(1)), right) > 0.01
    net.mean.copy_(net.mean.flip(0))
    assert relative(net(photograph(32)), right) > 0.001


def test_the_mean_of_a_layer_of_data_is_taken(tmp_path, photograph):
    layers, blobs = plan_of("vgg-a", crop=32)
    net, _ = load_net(write(tmp_path / "some.caffemodel", layers, blobs, mean=(104, 117, 123)))
    assert net.mean.flatten().tolist() == [123, 117, 104]


@torch.inference_mode()
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "name", ["vgg-b", "vgg-e", "alexnet-caffe", "cnn-f", "cnn-m", "cnn-m-128", "cnn-s", "googlenet"]
)
def test_opencv_gives_the_same_scores_from_the_same_file(name, version, tmp_path, photograph):
    dnn = pytest.importorskip("cv2").dnn
    if not hasattr(dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 reads Caffe's files no more")
    layers, blobs = plan_of(name, hidden=None if name in ("googlenet", "cnn-m-128") else 24)
    path = write(tmp_path / "some.caffemodel", layers, blobs, version=version, shaped=version == 2)
    net, _ = load_net(path)
    net.mean.zero_()
    for module in net.modules():
        if isinstance(module, LocalResponseNorm):
            module.k = 1.0  # as OpenCV takes it to be, whatever the file says: CNN-F, M and S have 2
    (tmp_path / "some.prototxt").write_text(prototxt(layers, net.crop))
    theirs = dnn.readNetFromCaffe(str(tmp_path / "some.prototxt"), str(path))
    theirs.setInput(photograph(net.crop).flip(1).float().numpy())
    assert net.name == name
    assert relative(net(photograph(net.crop)), torch.from_numpy(theirs.forward()).flatten(1)) < 1e-5


def prototxt(layers, crop):
    """What Caffe reads beside a .caffemodel: the net without its numbers."""
    lines = [f'input: "data" input_dim: 1 input_dim: 3 input_dim: {crop} input_dim: {crop}']
    below = "data"
    for layer in layers:
        window = f"kernel_size: {layer.kernel} stride: {layer.stride} pad: {layer.padding}"
        parameters = {
            "conv": f"convolution_param {{ num_output: {layer.outputs} {window} group: {layer.groups} }}",
            "fc": f"inner_product_param {{ num_output: {layer.outputs} }}",
            "pool": f"pooling_param {{ pool: MAX {window} }}",
            "mean": f"pooling_param {{ pool: AVE {window} }}",
        }
        if layer.kind == "lrn":
            size, alpha, beta, k = RESPONSES[layer.reading]
            parameters["lrn"] = f"lrn_param {{ local_size: {size} alpha: {alpha} beta: {beta} k: {k} }}"
        name, *bottoms = (name.replace("lrn", "norm") for name in (layer.name, *(layer.after or (below,))))
        taken = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        lines.append(
            f'layer {{ name: "{name}" type: "{KINDS[layer.kind][0]}" {taken} top: "{name}" '
            f"{parameters.get(layer.kind, '')} }}"
        )
        below = name
    return "\n".join(lines)


def test_a_file_without_strides_and_pools_needs_a_name_where_nets_have_the_same_shapes(tmp_path, refused):
    layers, blobs = plan_of("cnn-s")
    path = write(tmp_path / "some.caffemodel", layers, blobs, params=False)
    line = refused(load_net, path)
    assert line.startswith(f"{path}: may be cnn-m or ")
    assert line.endswith(" or cnn-s, since it states no strides and pools; name one of them")
    assert read_net(path, "cnn-s")[0].name == "cnn-s"
    assert create_net("cnn-m", weights=path, num_classes=7, width=1 / 16, hidden=24).name == "cnn-m"


def test_cnn_s_with_the_padding_of_the_paper_is_not_taken_for_the_released_one(tmp_path, refused):
    from dataclasses import replace

    layers, blobs = plan_of("cnn-s")
    padded = [replace(layer, padding=1) if layer.name == "conv2" else layer for layer in layers]
    line = refused(load_net, write(tmp_path / "some.caffemodel", padded, blobs))
    assert line.startswith(
        f"{tmp_path}/some.caffemodel: no net here has its layers (conv1.weight 6×3×7×7 to fc8.bias 7)"
    )


def test_caffenet_is_named_and_refused(tmp_path, refused):
    layers, blobs = plan_of("alexnet-caffe")
    places = {layer.name: place for place, layer in enumerate(layers)}
    for number in "12":
        one, other = places[f"lrn{number}"], places[f"pool{number}"]
        layers[one], layers[other] = layers[other], layers[one]
    assert "is CaffeNet" in refused(load_net, write(tmp_path / "some.caffemodel", layers, blobs))


def test_layers_of_the_first_kind_are_refused(tmp_path, refused):
    net = NetParameter()
    net.layers.add().layer.name = "conv1"
    (tmp_path / "some.caffemodel").write_bytes(net.SerializeToString())
    assert "layers of Caffe's first kind; upgrade it" in refused(read_caffe, tmp_path / "some.caffemodel")


def test_another_net_is_refused_by_layer_and_shapes(tmp_path, refused):
    layers, blobs = plan_of("vgg-d", crop=32)
    path = write(tmp_path / "some.caffemodel", layers, blobs)
    sizes = {"num_classes": 7, "width": 1 / 16, "crop": 32, "hidden": 24}
    weights = {"weights": path}
    assert refused(lambda: create_net("vgg-e", **sizes, **weights)) == (
        f"{path}: conv3_4.weight is missing; load it as vgg-d, with its width, crop and classes"
    )
    line = refused(lambda: create_net("vgg-d", **sizes | {"num_classes": 9}, **weights))
    assert line.startswith(f"{path}: fc8.weight is 7×24×1×1, this net has 9×24×1×1")


def test_a_blob_that_claims_more_than_it_has_is_refused(tmp_path, refused):
    for shape in ((64, 3, 3, 3), (2**40, 2**40, 1, 1)):
        net = NetParameter()
        blob = net.layer.add(name="conv1_1", type="Convolution").blobs.add(data=[1.0] * 9)
        blob.shape.dim.extend(shape)
        (tmp_path / "some.caffemodel").write_bytes(net.SerializeToString())
        line = refused(read_caffe, tmp_path / "some.caffemodel")
        assert line.endswith(f"conv1_1 says that it is {'×'.join(map(str, shape))} and holds 9 numbers; copy it again")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    layers, blobs = plan_of("vgg-a", crop=32, width=1 / 64, hidden=2)
    return write(tmp_path_factory.mktemp("caffe") / "small.caffemodel", layers, blobs, mean=(1, 2, 3))


def test_a_file_cut_anywhere_is_refused_or_lacks_layers(small, tmp_path):
    content = small.read_bytes()
    for length in range(0, len(content), 41):
        (tmp_path / "cut.caffemodel").write_bytes(content[:length])
        with pytest.raises(WeightsError):
            load_net(tmp_path / "cut.caffemodel")


@pytest.mark.slow
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), other=st.binary(min_size=1, max_size=6))
def test_a_damaged_file_is_read_or_refused_in_one_line(small, tmp_path, data, other):
    content = small.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    (tmp_path / "damaged.caffemodel").write_bytes(content[:place] + other + content[place + len(other) :])
    try:
        load_net(tmp_path / "damaged.caffemodel")
        line = ""
    except WeightsError as error:
        line = str(error)
    assert "\n" not in line


def test_numbers_keep_their_bits(tmp_path):
    layers, blobs = plan_of("vgg-a", crop=32)
    found = read_caffe(write(tmp_path / "some.caffemodel", layers, blobs)).tensors
    assert np.array_equal(found["conv2_1.weight"], blobs["conv2_1"][0])
    assert np.array_equal(found["conv1_1.weight"], blobs["conv1_1"][0].flip(1))
    assert found["fc6.weight"].shape == (24, 32, 1, 1)
