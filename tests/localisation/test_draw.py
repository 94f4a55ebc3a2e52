from pathlib import Path

from verydeep.localisation.draw import drawings_of


def test_every_picture_has_a_drawing_of_its_own():
    images = ["a/photo.jpg", "b/photo.jpg", "photo.png", "other.jpg", "photo-2.jpg"]
    names = [path.name for path in drawings_of(images, Path("boxes"))]
    assert names == ["photo.png", "photo-2.png", "photo-3.png", "other.png", "photo-2-2.png"]


def test_no_drawing_takes_the_place_of_a_picture(tmp_path):
    images = [str(tmp_path / "photo.png"), str(tmp_path / "photo-2.png")]
    assert [path.name for path in drawings_of(images, tmp_path)] == ["photo-3.png", "photo-2-2.png"]
    (tmp_path / "linked").symlink_to(tmp_path)
    assert [path.name for path in drawings_of(images, tmp_path / "linked")] == ["photo-3.png", "photo-2-2.png"]
