import io
import os
import re
import struct
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from verydeep.errors import PictureError
from verydeep.pictures.decode import allowed_megapixels, decode, read_size

FORMATS = {  # file → Pillow's name of the format, how it is written
    "baseline.jpg": ("JPEG", {"quality": 90}),
    "all-colours.jpg": ("JPEG", {"quality": 90, "subsampling": "4:4:4"}),
    "progressive.jpg": ("JPEG", {"quality": 80, "progressive": True}),
    "plain.png": ("PNG", {}),
    "lossy.webp": ("WEBP", {"quality": 80}),
    "lossless.webp": ("WEBP", {"lossless": True}),
    "plain.gif": ("GIF", {}),
    "plain.bmp": ("BMP", {}),
    "plain.tif": ("TIFF", {}),
    "packed.tif": ("TIFF", {"compression": "tiff_lzw"}),
}
files = pytest.mark.parametrize("file", FORMATS)


@pytest.fixture(scope="session")
def valid(small, encode):
    """A valid file of each format."""
    return {file: encode(small, format, **options) for file, (format, options) in FORMATS.items()}


def pillows(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


@files
def test_pixels_are_pillows(valid, file):
    assert np.array_equal(decode(valid[file]), pillows(valid[file]))


@pytest.mark.parametrize("file", ["plain.png", "lossless.webp", "plain.bmp", "plain.tif", "packed.tif"])
def test_lossless_formats_give_the_picture_back(valid, file, small):
    assert np.array_equal(decode(valid[file]), small)


@files
def test_size_is_read_without_decoding(valid, file):
    assert read_size(valid[file]) == (60, 80)
    if not file.endswith((".webp", ".tif")):  # which are opened as a whole
        assert read_size(valid[file][: len(valid[file]) * 2 // 3]) == (60, 80)


@files
def test_pictures_can_be_written_to_and_lie_in_one_piece(valid, file):
    picture = decode(valid[file])
    assert picture.flags.writeable
    assert picture.flags.c_contiguous


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "LAB", "I;16"])
def test_modes_that_a_tiff_can_have_are_read(small, encode, mode):
    image = Image.fromarray(small)
    image = Image.fromarray(np.full((60, 80), 0x7F03, np.uint16)) if mode == "I;16" else image.convert(mode)
    picture = decode(encode(image, "TIFF"))
    assert picture.shape == (60, 80, 3)
    if mode in ("1", "L", "P", "CMYK", "LAB"):
        assert np.array_equal(picture, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_grey_becomes_three_equal_channels(small, encode, format):
    encoded = encode(Image.fromarray(small).convert("L"), format)
    picture = decode(encoded)
    assert np.array_equal(picture, pillows(encoded))
    assert (picture == picture[:, :, :1]).all()


def test_palettes_are_looked_up(small, encode):
    image = Image.fromarray(small).quantize(17)
    assert np.array_equal(decode(encode(image, "PNG")), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("progressive", [False, True])
def test_cmyk_is_pillows(small, encode, progressive):
    encoded = encode(Image.fromarray(small).convert("CMYK"), "JPEG", progressive=progressive)
    assert Image.open(io.BytesIO(encoded)).mode == "CMYK"
    assert np.array_equal(decode(encoded), pillows(encoded))


@pytest.mark.parametrize("grey", [0x0000, 0x00FF, 0x7F80, 0xFF00, 0xFFFF])
def test_sixteen_bits_become_their_upper_eight(encode, grey):
    picture = decode(encode(np.full((4, 5), grey, np.uint16), "PNG"))
    assert np.array_equal(picture, np.full((4, 5, 3), grey >> 8))


def test_sixteen_bits_of_each_colour_become_their_upper_eight():
    row = b"\0" + struct.pack(">6H", 0x0102, 0x80FF, 0xFFFF, 0x7F00, 0x00FF, 0xFE01)  # no filter; two pixels
    assert decode(png(2, 1, 16, 2, row)).tolist() == [[[0x01, 0x80, 0xFF], [0x7F, 0x00, 0xFE]]]


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_transparency_lies_on_white(encode, format):
    pixels = np.array([[[10, 20, 30, 0], [10, 20, 30, 255], [10, 20, 30, 51]]], np.uint8)
    picture = decode(encode(pixels, format, **({"lossless": True, "exact": True} if format == "WEBP" else {})))
    assert picture.tolist() == [[[255, 255, 255], [10, 20, 30], [206, 208, 210]]]  # 0.2 of the colour, 0.8 of white


def test_transparency_of_grey_and_of_palettes_lies_on_white(encode):
    assert decode(encode(Image.new("LA", (1, 1), (40, 0)), "PNG")).tolist() == [[[255] * 3]]
    assert decode(encode(Image.new("L", (1, 1), 40), "PNG", transparency=40)).tolist() == [[[255] * 3]]
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([9, 8, 7, 6, 5, 4])
    palette.putpixel((1, 0), 1)
    assert decode(encode(palette, "PNG", transparency=1)).tolist() == [[[9, 8, 7], [255] * 3]]
    assert decode(encode(palette, "PNG", transparency=bytes([255, 0]))).tolist() == [[[9, 8, 7], [255] * 3]]


def test_opaque_alpha_changes_nothing(small, encode):
    opaque = np.dstack([small, np.full(small.shape[:2], 255, np.uint8)])
    assert np.array_equal(decode(encode(opaque, "PNG")), small)


def test_of_several_frames_comes_the_first(encode):
    red, blue = Image.new("RGB", (4, 3), "red"), Image.new("RGB", (4, 3), "blue")
    for format in ("GIF", "WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if format == "WEBP" else {}
        encoded = encode(red, format, save_all=True, append_images=[blue], **options)
        assert np.array_equal(decode(encoded), np.full((3, 4, 3), [255, 0, 0])), format


def test_pixels_of_unknown_range_are_refused(encode):
    encoded = encode(Image.new("F", (4, 3)), "TIFF")
    with pytest.raises(PictureError, match=r"^a\.tif: cannot be decoded \(its pixels are 32-bit numbers"):
        decode(encoded, name="a.tif")


# ---- EXIF orientation ----


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied_or_ignored(small, encode, format, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    encoded = encode(small, format, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))))
    assert np.array_equal(decode(encoded), upright)
    assert decode(encoded).flags.c_contiguous
    assert np.array_equal(decode(encoded, orientation="ignore"), pillows(encoded))
    assert read_size(encoded) == upright.shape[:2]
    assert read_size(encoded, orientation="ignore") == (60, 80)


def test_impossible_orientations_are_upright(small, encode):
    for turn in (0, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = turn
        assert decode(encode(small, "JPEG", exif=exif)).shape == (60, 80, 3)


def test_damaged_exif_is_upright(small, encode):
    assert decode(encode(small, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")).shape == (60, 80, 3)


# ---- Lying and damaged files ----


def test_content_decides_not_the_name(valid, small):
    assert np.array_equal(decode(valid["plain.png"], name="lying.jpg"), small)


@pytest.mark.parametrize("text", [b"This is not a picture.\n", b"<html>", b"\0" * 1000, b"BM", b"GIF89a", b"\xff\xd8"])
def test_text_is_refused_by_name(text):
    with pytest.raises(PictureError, match=r"^shots/a\.png: .*; remove it or [^\n]*$"):
        decode(text, name="shots/a.png")


def test_empty_file_is_refused():
    with pytest.raises(PictureError, match=r"^a\.png: is empty; remove it or save it as JPEG or PNG$"):
        decode(b"", name="a.png")


@files
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_truncated_files_raise(valid, file, share):
    with pytest.raises(PictureError, match=rf"^{file}: "):
        decode(valid[file][: int(len(valid[file]) * share)], name=file)


@given(st.integers(0, 10_000))
@settings(deadline=None)
def test_a_jpeg_cut_anywhere_raises(valid, cut):
    for file in ("baseline.jpg", "progressive.jpg"):
        with pytest.raises(PictureError):
            decode(valid[file][: cut % (len(valid[file]) - 1)])


def test_a_jpeg_cut_but_ended_properly_raises(valid):
    encoded = valid["baseline.jpg"]
    with pytest.raises(PictureError, match=r"premature end"):
        decode(encoded[: len(encoded) // 2] + b"\xff\xd9")


def test_a_cut_cmyk_jpeg_raises(small, encode):
    encoded = encode(Image.fromarray(small).convert("CMYK"), "JPEG")
    for end in (b"", b"\xff\xd9"):
        with pytest.raises(PictureError, match=r"(?i)premature end"):
            decode(encoded[: len(encoded) // 2] + end)


def test_a_jpeg_with_a_piece_missing_raises(valid):
    encoded = valid["baseline.jpg"]
    middle = len(encoded) * 2 // 3
    with pytest.raises(PictureError, match="Corrupt JPEG data"):
        decode(encoded[:middle] + encoded[middle + 200 :])


def test_harmless_blemishes_of_a_jpeg_are_forgiven(valid):
    encoded = valid["baseline.jpg"]
    expected = decode(encoded)
    table = encoded.index(b"\xff\xdb")
    version = encoded.index(b"JFIF\0") + 5
    for blemished in (
        encoded[:table] + b"\0\0\0" + encoded[table:],  # bytes between segments
        encoded[:-2] + bytes(64) + encoded[-2:],  # padding
        encoded + b"what else a camera has to say",
        encoded[:version] + b"\x07" + encoded[version + 1 :],  # an unknown version of JFIF
    ):
        assert np.array_equal(decode(blemished), expected)


def test_a_blemish_does_not_hide_that_a_jpeg_is_cut(valid):
    encoded = valid["baseline.jpg"]
    table = encoded.index(b"\xff\xdb")
    with pytest.raises(PictureError, match="truncated"):
        decode(encoded[:table] + b"\0\0\0" + encoded[table : len(encoded) // 2])


def test_a_jpeg_of_unusual_sampling_is_pillows(small):
    planes = simplejpeg.encode_jpeg(small, 90, colorsubsampling="444")
    sampling = planes.index(b"\xff\xc0") + 11
    unusual = planes[:sampling] + b"\x13" + planes[sampling + 1 :]  # 1 x 3, which simplejpeg does not know
    with pytest.raises(ValueError, match="subsampling"):
        simplejpeg.decode_jpeg_header(unusual)
    assert np.array_equal(decode(unusual), pillows(unusual))


@given(st.sampled_from(sorted(FORMATS)), st.data())
@settings(max_examples=300, deadline=None)
def test_damage_gives_a_picture_or_one_line(valid, file, data):
    encoded = bytearray(valid[file])
    for _ in range(data.draw(st.integers(1, 4))):
        # Half of the damage goes to the header, where most of the rules are.
        last = data.draw(st.sampled_from([64, len(encoded) - 1]))
        start = data.draw(st.integers(0, min(last, len(encoded) - 1)))
        kind = data.draw(st.sampled_from(["write", "insert", "delete"]))
        these = data.draw(st.binary(min_size=1, max_size=8))
        encoded[start : start + (0 if kind == "insert" else len(these))] = b"" if kind == "delete" else these
        encoded = encoded or bytearray(b"\0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on metadata
        # A damaged header may ask for any size; no more than a megapixel, so that the test stays fast.
        picture = outcome(decode, bytes(encoded), name="a.jpg", max_megapixels=1.0)
        size = outcome(read_size, bytes(encoded), name="a.jpg", max_megapixels=1.0)
    if isinstance(picture, str):
        assert re.fullmatch(r"a\.jpg: [^\n]+", picture)
    else:
        assert 0 < picture.shape[0] * picture.shape[1] <= 1e6
        assert size == picture.shape[:2]
    if isinstance(size, str):
        assert re.fullmatch(r"a\.jpg: [^\n]+", size)


def outcome(read, *args, **options):
    try:
        return read(*args, **options)
    except PictureError as error:
        return str(error)


# ---- Bombs ----


def png(width, height, bits, colours, rows):
    """A PNG of these raw rows, written by hand. Source: PNG specification, sections 5 and 11."""
    import zlib

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def with_size(encoded, at, *sides):
    return encoded[:at] + b"".join(sides) + encoded[at + sum(map(len, sides)) :]


@pytest.fixture(scope="session")
def bombs(valid, encode):
    """Small files that claim 50,000 x 50,000 pixels (or what the format allows) with the real size's headers."""
    clear = encode(Image.new("RGBA", (80, 60), (1, 2, 3, 4)), "WEBP")
    frame = valid["baseline.jpg"].index(b"\xff\xc0") + 5
    short, long = struct.pack(">H", 50_000), struct.pack("<I", 50_000)
    return {
        "JPEG": with_size(valid["baseline.jpg"], frame, short, short),
        "PNG": png(50_000, 50_000, 8, 2, b""),
        "WEBP": with_size(clear, 24, long[:3], long[:3]),
        "GIF": with_size(valid["plain.gif"], 6, short[::-1], short[::-1]),
        "BMP": with_size(valid["plain.bmp"], 18, long, long),
    }


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
@pytest.mark.parametrize("read", [decode, read_size])
def test_bombs_are_refused_by_their_header(bombs, format, read):
    with pytest.raises(
        PictureError, match=r"^a: 500\d\dx500\d\d are 250\d megapixels, the limit is 250; remove it or set"
    ):
        read(bombs[format], name="a")


def test_refusing_a_bomb_takes_no_memory(bombs):
    resource = pytest.importorskip("resource")
    for encoded in bombs.values():  # what loads at the first use is loaded now
        with pytest.raises(PictureError):
            decode(encoded)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for encoded in bombs.values():
        with pytest.raises(PictureError):
            decode(encoded)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10_000  # kB, of 7,500,000 a picture


def test_the_limit_of_all_commands_is_settable():
    command = [sys.executable, "-c", "from verydeep.pictures.decode import MAX_MEGAPIXELS; print(MAX_MEGAPIXELS)"]
    for environment, limit in ({}, "250.0"), ({"VERYDEEP_MAX_MEGAPIXELS": "0.5"}, "0.5"):
        found = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == limit


@pytest.mark.parametrize("said", ["", "much", "0", "-1", "nan"])
def test_a_limit_that_is_no_number_of_megapixels_is_refused(said):
    with pytest.raises(PictureError, match=r"VERYDEEP_MAX_MEGAPIXELS: '.*' is not a number of megapixels"):
        allowed_megapixels(said)


def test_the_limit_is_settable(valid):
    assert decode(valid["plain.png"], max_megapixels=0.0048).shape == (60, 80, 3)
    with pytest.raises(PictureError, match=r"80x60 are 0\.0048 megapixels, the limit is 0\.0047"):
        decode(valid["plain.png"], max_megapixels=0.0047)
    with pytest.raises(PictureError, match=r"a\.png: .* remove it or set VERYDEEP_MAX_MEGAPIXELS$"):
        decode(valid["plain.png"], max_megapixels=0.0047, name="a.png")
    # Beyond the limit that Pillow has for the whole process too.
    assert read_size(png(20_000, 15_000, 8, 2, b""), max_megapixels=300.0) == (15_000, 20_000)


def test_pictures_without_pixels_are_refused():
    with pytest.raises(PictureError):
        decode(png(0, 5, 8, 2, b""))


# ---- For training only ----


@given(st.integers(16, 400), st.integers(16, 400), st.integers(1, 500))
@settings(max_examples=60, deadline=None)
def test_scaled_decode_is_the_smallest_power_of_two_that_is_at_least(height, width, at_least):
    noise = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    encoded = simplejpeg.encode_jpeg(noise, 50)
    shapes = [(-(-height // divisor), -(-width // divisor), 3) for divisor in (8, 4, 2)]
    expected = next((shape for shape in shapes if min(shape[:2]) >= at_least), (height, width, 3))
    picture = decode(encoded, at_least=at_least)
    assert picture.shape == expected
    assert np.array_equal(picture, simplejpeg.decode_jpeg(encoded, min_height=expected[0], min_width=expected[1]))


def test_scaled_decode_looks_like_the_photograph_made_smaller(photo, encode):
    encoded = encode(photo[:426], "JPEG", quality=95)
    half = decode(encoded, at_least=200).astype(int)
    assert half.shape == (213, 320, 3)
    smaller = np.asarray(Image.fromarray(decode(encoded)).reduce(2))
    assert np.abs(half - smaller).mean() < 3
    assert abs((half - smaller).mean()) < 0.2


def test_scaled_decode_is_turned_too(small, encode):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(encode(small, "JPEG", exif=exif), at_least=30).shape == (40, 30, 3)


def test_only_jpegs_are_decoded_scaled(valid):
    assert decode(valid["plain.png"], at_least=10).shape == (60, 80, 3)


def test_fast_decode_changes_colours_little_and_greys_not_at_all(photo, encode):
    encoded = encode(photo, "JPEG", quality=95)
    difference = decode(encoded, fast=True).astype(int) - decode(encoded)
    assert 0 < np.abs(difference).mean() < 2
    assert abs(difference.mean()) < 0.05
    for exact in (encode(photo, "JPEG", subsampling="4:4:4"), encode(Image.fromarray(photo).convert("L"), "JPEG")):
        assert np.array_equal(decode(exact, fast=True), decode(exact))


samplings = st.sampled_from(["444", "422", "420", "440", "411", "Gray"])


@given(st.integers(8, 120), st.integers(8, 120), samplings, st.integers(1, 120), st.booleans(), st.data())
@settings(deadline=None)
def test_the_rows_asked_for_are_those_of_the_whole(height, width, sampling, at_least, fast, data):
    noise = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)
    if sampling == "Gray":
        encoded = simplejpeg.encode_jpeg(noise[:, :, :1].copy(), 80, "GRAY", "Gray")
    else:
        encoded = simplejpeg.encode_jpeg(noise, 80, colorsubsampling=sampling)
    whole = decode(encoded, at_least=at_least, fast=fast)
    needed = data.draw(st.integers(1, len(whole)))
    asked = []

    def rows(height, width):
        asked.append((height, width))
        return needed

    top = decode(encoded, at_least=at_least, fast=fast, rows=rows)
    assert asked == [whole.shape[:2]]
    assert top.shape == whole.shape
    assert np.array_equal(top[:needed], whole[:needed])


def test_few_rows_of_a_jpeg_with_restarts_are_those_of_the_whole(photo, encode):
    encoded = encode(photo, "JPEG", restart_marker_rows=1)
    assert b"\xff\xd7" in encoded
    assert np.array_equal(decode(encoded, rows=lambda height, width: 100)[:100], decode(encoded)[:100])


def test_few_rows_take_less_time_to_decode(photo, encode):
    encoded = encode(photo, "JPEG", quality=95)

    def seconds(**options):
        start = time.process_time()
        for _ in range(5):
            decode(encoded, **options)
        return time.process_time() - start

    assert min(seconds(rows=lambda height, width: 40) for _ in range(5)) < min(seconds() for _ in range(5)) / 2


@pytest.mark.parametrize("file", ["progressive.jpg", "plain.png"])
def test_files_not_coded_from_top_to_bottom_are_decoded_whole(valid, file):
    assert np.array_equal(decode(valid[file], rows=lambda height, width: pytest.fail("asked")), decode(valid[file]))


def test_turned_pictures_are_decoded_whole(small, encode):
    exif = Image.Exif()
    exif[0x0112] = 3
    encoded = encode(small, "JPEG", exif=exif)
    assert np.array_equal(decode(encoded, rows=lambda height, width: pytest.fail("asked")), decode(encoded))
    upright = decode(encoded, orientation="ignore")
    assert np.array_equal(decode(encoded, orientation="ignore", rows=lambda height, width: 20)[:20], upright[:20])


@pytest.mark.parametrize("rows", [1, 30, 60])
def test_a_jpeg_cut_below_the_rows_asked_for_raises(valid, rows):
    for share in (0.5, 0.8, 0.95):
        encoded = valid["baseline.jpg"][: int(len(valid["baseline.jpg"]) * share)]
        with pytest.raises(PictureError, match="Premature end"):
            decode(encoded, rows=lambda height, width: rows)


def test_blemishes_are_forgiven_where_few_rows_are_asked_for(valid):
    encoded = valid["baseline.jpg"]
    table = encoded.index(b"\xff\xdb")
    for blemished in (encoded[:table] + b"\0\0\0" + encoded[table:], encoded[:-2] + bytes(64) + encoded[-2:]):
        for rows in (20, 60):
            picture = decode(blemished, rows=lambda height, width, rows=rows: rows)
            assert np.array_equal(picture[:rows], decode(encoded)[:rows])


# ---- Threads, extras ----


def test_threads_decode_what_one_does(valid):
    with ThreadPoolExecutor(4) as pool:
        for file, encoded in valid.items():
            expected = decode(encoded)
            for picture in pool.map(decode_only, [encoded] * 16):
                assert np.array_equal(picture, expected), file


def decode_only(encoded):
    return decode(encoded)


def test_heic_is_read_upright_whatever_is_said_of_orientation(small):
    pillow_heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(small)).save(file, quality=-1)
    encoded = file.getvalue()
    assert read_size(encoded) == (60, 80)
    # Lossless but for the conversion from RGB to YCbCr and back, with colours at half resolution.
    assert np.abs(decode(encoded).astype(int) - small).mean() < 6
    with pytest.raises(PictureError, match=r"^a\.heic: "):
        decode(encoded[: len(encoded) // 2], name="a.heic")


def test_without_the_extra_heic_is_refused_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PictureError, match=re.escape("a.heic: is HEIC; pip install 'verydeep[heic]' to read it")):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", name="a.heic")
