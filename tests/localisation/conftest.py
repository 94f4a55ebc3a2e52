import pytest


@pytest.fixture(scope="session")
def xml():
    """Things with inclusive corners → a file as ILSVRC's and VOC's are."""

    def xml(*things, size=(400, 500)):
        objects = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
            "</bndbox></object>"
            for name, (x0, y0, x1, y1) in things
        )
        height, width = size
        sides = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
        return f"<annotation>{sides}{objects}</annotation>"

    return xml
