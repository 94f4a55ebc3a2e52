import pickle

from hypothesis import given
from hypothesis import strategies as st

from verydeep.data.paths import Paths, printable

ENCODED = st.lists(st.binary(max_size=12).filter(lambda name: b"\0" not in name))


@given(ENCODED, st.data())
def test_packed_paths_are_the_paths_that_were_packed(encoded, data):
    plain = [name.decode("utf-8", "surrogateescape") for name in encoded]
    paths = Paths(encoded)
    assert list(paths) == plain
    assert [paths[index] for index in range(-len(plain), len(plain))] == plain + plain
    cut = data.draw(st.slices(len(plain)))
    assert list(paths[cut]) == plain[cut]
    assert list(pickle.loads(pickle.dumps(paths))) == plain


@given(st.binary(min_size=1))
def test_a_printable_path_is_one_line_of_utf8(encoded):
    line = printable(encoded.decode("utf-8", "surrogateescape"))
    assert line.isprintable()
    assert line.encode("utf-8")


def test_packed_paths_take_their_bytes_and_eight_more():
    paths = Paths(b"train/n01440764/n01440764_%d.JPEG" % number for number in range(1000))
    assert len(pickle.dumps(paths)) < sum(map(len, paths)) + 8 * 1000 + 500
