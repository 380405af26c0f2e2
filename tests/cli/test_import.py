import json
import subprocess
import sys

import pytest
from releases import BUILDERS, make_media

from mmretrieval.data.manifest import read_manifest
from mmretrieval.data.sources import sources


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    home = tmp_path_factory.mktemp("import")
    BUILDERS["smit"](home / "release", 20, make_media(home / "media"))
    return home / "release"


def test_help_names_every_source(run):
    code, out, _ = run("import", "--help")
    assert code == 0
    named = [line.split()[0] for line in out.splitlines() if line.startswith("    ") and line.strip()]
    assert set(sources.names()) <= set(named)


def test_list_teaches_every_layout(run):
    code, out, _ = run("import", "--list")
    assert code == 0
    for name in sources.names():
        assert f"\n{name}\n" in f"\n{out}"
    for part in ("transcriptions/NAME.txt", "MSRVTT_JSFUSION_test.csv", "text_alignment", "enCap", "--val-share"):
        assert part in out


def test_import(run, release, tmp_path):
    code, out, err = run("import", "smit", release, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert f"→ {tmp_path}/out/train.jsonl" in out and "set aside 4: " in out and "1 × empty caption" in out
    assert len(read_manifest(tmp_path / "out/train.jsonl")) == 16


def test_import_for_scripts(run, release, tmp_path):
    options = ["--split", "train", "--need", "speech", "--keep-missing", "--check", "--json"]
    code, out, err = run("import", "smit", release, "--out", tmp_path / "a.jsonl", *options)
    report = json.loads(out)
    assert code == 0 and set(report) == {
        "source", "root", "splits", "set_aside", "notes", "checked", "seconds",
    }  # fmt: skip
    assert report["splits"]["train"]["manifest"] == str(tmp_path / "a.jsonl")
    assert report["splits"]["train"]["kept"] == 16 and report["checked"] == 32
    assert report["set_aside"]["reasons"]["no speech"] == 1 and err == ""


def test_kept_but_missing_is_said_loudly(run, release, tmp_path):
    code, _, err = run("import", "smit", release, "--out", tmp_path / "out", "--keep-missing")
    assert code == 0 and err.startswith("warning: 1 of 17 rows of ") and err.count("\n") == 1


def test_shares_and_media(run, release, tmp_path):
    arguments = ["--val-share", "0.25", "--test-share", "0.25", "--seed", "3", "--out", tmp_path / "out"]
    code, out, _ = run("import", "folder", release / "videos", *arguments)
    assert code == 0 and sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "test.jsonl", "train.jsonl", "val.jsonl",
    ]  # fmt: skip
    code, _, err = run("import", "folder", release / "videos", "--out", tmp_path / "out", "--media", release)
    assert code == 2 and err == (
        "mmretrieval: source 'folder' has no option '--media'. Its options: --val-share, --test-share, --seed.\n"
    )


def test_lists_of_frames(run, tmp_path):
    BUILDERS["frames"](tmp_path / "release", 20, make_media(tmp_path / "media"))
    (tmp_path / "names.txt").write_text("a\nb\n")
    options = ["--classes", tmp_path / "names.txt", "--separator", ";", "--min-frames", "4", "--out", tmp_path / "out"]
    code, _, err = run("import", "frames", tmp_path / "release", *options)
    assert code == 2 and "not one usable sample" in err and "25 × too short" in err
    options[5] = "3"
    code, _, err = run("import", "frames", tmp_path / "release", *options)
    assert (code, err) == (0, "")
    assert {sample.labels for sample in read_manifest(tmp_path / "out/train.jsonl")} == {("a",), ("b",)}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["smti", "."], "unknown source 'smti'. Did you mean 'smit'? 'mmretrieval import --list' explains all 15."),
        (["smit", "nowhere"], "{}/nowhere: no such file or folder."),
        (["msrvtt", "."], "{}: found no annotations: looked for MSRVTT_data.json, "),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, tmp_path, monkeypatch, arguments, expected):
    monkeypatch.chdir(tmp_path)
    code, out, err = run("import", *arguments, "--out", "out")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert err.startswith("mmretrieval: " + expected.format(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_it_loads_nothing_heavy(release, tmp_path):
    script = (
        "import sys\nfrom mmretrieval.cli.main import main\n"
        f"sys.argv = ['mmretrieval', 'import', 'smit', {str(release)!r}, '--out', {str(tmp_path / 'out')!r}]\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code\n"
        "print(*[name for name in ('torch', 'numpy', 'av', 'decord', 'soundfile', 'PIL') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == ""
