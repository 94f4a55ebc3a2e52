import pytest

from verydeep.studies.protocol_table import cost_ratio_lines, protocol_lines


def cells(lines):
    return {line.split(" | ")[0].strip("| `"): line.strip("| ").split(" | ")[1:] for line in lines[2:]}


def test_costs_are_those_that_were_worked_out_by_hand():
    found = cells(protocol_lines(["vgg-d"]))
    assert found["centre@256"] == ["1", "15.5", "15.5", "1.0"]
    assert found["dense@256,384,512"] == ["6", "325.3", "440.2", "28.5"]
    assert found["multi-crop@256,384,512"] == ["150", "2320.5", "2320.5", "150.0"]
    assert found["googlenet-144@256,288,320,352"][0] == "144"
    assert found["spp-96+2@224,256,300,360,448,560"][0] == "98"


@pytest.mark.parametrize(
    ("net", "square", "wide"), [("vgg-b", 6.9, 5.1), ("vgg-c", 6.9, 5.1), ("vgg-d", 7.1, 5.3), ("vgg-e", 7.3, 5.4)]
)
def test_crops_cost_so_many_times_what_dense_testing_does(net, square, wide):
    (found,) = cells(cost_ratio_lines([net])).values()
    assert [float(ratio) for ratio in found] == [pytest.approx(square, abs=0.05), pytest.approx(wide, abs=0.05)]
