"""What clients call files and folders, and what lies outside."""

import os

import pytest

from mmretrieval.web.names import Roots


def names(*paths):
    roots = Roots(paths)
    return [roots.name(path) for path in paths]


@pytest.mark.parametrize(
    ("paths", "shown"),
    [
        (["/home/a/Videos/x.mp4"], ["x.mp4"]),
        (["/home/a/Videos/x.mp4", "/home/a/Videos/h/y.mp4"], ["x.mp4", "h/y.mp4"]),
        (["/home/a/v/x.mp4", "/home/a/w/y.mp4"], ["v/x.mp4", "w/y.mp4"]),
        (["/home/a/v/x.mp4", "/mnt/disk/y.mp4"], ["v/x.mp4", "disk/y.mp4"]),
        (["/h/v/x.mp4", "/mnt/v/y.mp4", "/mnt/v/z/y.mp4"], ["v/x.mp4", "v-2/y.mp4", "v-2/z/y.mp4"]),
        (["/x.mp4", "/mnt/y.mp4"], ["x.mp4", "mnt/y.mp4"]),
        ([], []),
    ],
)  # fmt: skip
def test_names(paths, shown):
    assert names(*paths) == shown


def test_what_lies_elsewhere_has_only_a_name():
    assert Roots(["/home/a/v/x.mp4"]).name("/home/a/secret/plan.mp4") == "plan.mp4"
    assert Roots(["/home/a/v/x.mp4"]).name("/home/a/video/x.mp4") == "x.mp4"


def test_folders_are_taken_out_of_texts():
    roots = Roots(["/home/a/my videos/x.mp4"])
    assert roots.without_folders("its id 'x' is taken by /home/a/my videos/h/y.mp4") == "its id 'x' is taken by h/y.mp4"


def test_where_a_file_really_is(tmp_path):
    (tmp_path / "v" / "sub").mkdir(parents=True)
    (tmp_path / "v" / "sub" / "x.mp4").write_text("x")
    (tmp_path / "v" / "y.mp4").write_text("y")
    (tmp_path / "secret").write_text("s")
    roots = Roots([str(tmp_path / "v" / "sub" / "x.mp4"), str(tmp_path / "v" / "y.mp4")])
    real = os.path.realpath(tmp_path)
    assert roots.resolve(str(tmp_path / "v" / "y.mp4")) == f"{real}/v/y.mp4"
    assert roots.resolve(str(tmp_path / "v" / "sub" / ".." / "y.mp4")) == f"{real}/v/y.mp4"
    for path in (tmp_path / "secret", tmp_path / "v" / ".." / "secret", tmp_path / "v" / "sub" / "../../secret"):
        assert roots.resolve(str(path)) is None
    (tmp_path / "v" / "link.mp4").symlink_to(tmp_path / "secret")
    assert roots.resolve(str(tmp_path / "v" / "link.mp4")) is None
