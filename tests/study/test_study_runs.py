"""Studies for real: processes that train, are stopped, go on and fail."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from mmretrieval.errors import StorageError
from mmretrieval.study.runner import Ledger, StudyInterrupted, run_missing

BRIEF = ["model.codebook=null", "training.epochs=1", "training.evaluate_every=1", "objective={nce: {}}"]


def test_two_labels_two_seeds_interrupted_once(study_file, tmp_path, run):
    """List, train, stop with Ctrl-C, go on, report; in the end nothing is left to do."""
    file = study_file(("{training.lr: 0.0001}", "{training.epochs: 24, training.evaluate_every: 24}"))
    out = tmp_path / "out"
    slow = out / "rates/slow/seed-0"
    command = ("study", file, *BRIEF, "--out", out)
    assert run(*command, "--dry-run")[1].splitlines() == [
        "rates: Is a fast rate better?",
        "  train     slow, seed 0 (unknown time)",
        "  train     fast, seed 0 (unknown time)",
        "  train     slow, seed 1 (unknown time)",
        "  train     fast, seed 1 (unknown time)",
        "4 to train: time unknown until a run is finished",
    ]
    assert not out.exists()

    process = subprocess.Popen(
        # with a checkpoint after every step: once there is one, the run is where Ctrl-C makes it save
        [sys.executable, "-m", "mmretrieval.cli.main", *map(str, command), "training.checkpoint_minutes=1e-9"],
        stderr=subprocess.PIPE,
        text=True,
        # whoever started the tests in the background may have Ctrl-C ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for((slow / "checkpoint").is_dir, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert (process.returncode, said) == (
        130,
        "mmretrieval: stopped in slow, seed 0; the same command goes on there\n",
    )
    step = json.loads((slow / "checkpoint/progress.json").read_text())["step"]
    assert 0 < step < 72 and not (slow / "report.json").exists()
    first = json.loads((out / "rates/ledger.json").read_text())["slow, seed 0"]
    assert first["failure"] is None and not first["finished"]
    assert f"  go on     slow, seed 0 (at step {step}, unknown time)" in run(*command, "--dry-run")[1]

    code, text, said = run(*command, "--only", "slow")
    assert code == 0 and said.count("slow, seed") == 2 and "Not finished: fast, seed 0; fast, seed 1." in text
    assert json.loads((slow / "report.json").read_text())["steps"] == 72
    ledger = json.loads((out / "rates/ledger.json").read_text())["slow, seed 0"]
    assert ledger["finished"] and ledger["seconds"] > first["seconds"]
    listed = run(*command, "--dry-run")[1].splitlines()
    assert listed[1].startswith("  finished  slow, seed 0 (") and listed[-1].startswith("2 to train: about ")

    code, text, said = run(*command)
    assert code == 0 and [line.split(": ")[1:3] for line in said.splitlines()] == [
        ["3 of 4", "fast, seed 0"],
        ["4 of 4", "fast, seed 1"],
    ]
    page = json.loads((out / "rates/rates.json").read_text())
    assert [row["seeds"] for row in page["runs"]] == [[0, 1], [0, 1]]
    for row in page["runs"]:
        for seed in ("0", "1"):
            report = json.loads((out / f"rates/{row['label']}/seed-{seed}/report.json").read_text())["retrieval"]
            both = (report["text_to_video"]["recall@1"] + report["video_to_text"]["recall@1"]) / 2
            assert row["metrics"]["R@1"]["values"][seed] == pytest.approx(both)
    assert page["runs"][0]["seconds"]["0"] == ledger["seconds"]
    assert (out / "rates/rates.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name[:5] for path in (out / "cache").iterdir()) == ["speec", "video"]  # decoded once for all
    assert f"Made by `mmretrieval study {file} " in text

    before = {path: path.stat().st_mtime_ns for path in out.rglob("report.json")}
    pages = {name: (out / "rates" / name).read_bytes() for name in ("rates.md", "rates.json", "rates.png")}
    assert run(*command)[::2] == (0, "") and run(*command, "--report")[::2] == (0, "")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("report.json")} == before
    assert {name: (out / "rates" / name).read_bytes() for name in pages} == pages
    assert run(*command, "--dry-run")[1].splitlines()[-1] == "0 to train: nothing is left to do"


def wait_for(happened, process):
    while not happened():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)


ENDS = {
    "kill -9 $$": "killed by SIGKILL, perhaps for lack of memory; see {log}",
    "echo 'a note'; echo 'OddError: no luck' >&2; exit 1": "OddError: no luck; see {log}",
    "echo 'mmretrieval: no clips'; echo 'a note'; exit 2": "no clips",
    "true": "exit code 0; see {log}",
}


def test_a_run_that_fails_is_noted_and_the_others_go_on(study_file, tmp_path, run, monkeypatch):
    """What a process says last, or the signal that ended it, is the reason; one end for each run."""
    file, out, ends = study_file(), tmp_path / "out", iter(ENDS)
    popen = subprocess.Popen

    def start(command, **options):
        return popen(["sh", "-c", next(ends)], **options)

    monkeypatch.setattr("mmretrieval.study.runner.subprocess.Popen", start)
    code, text, said = run("study", file, *BRIEF, "--out", out)
    runs = [(label, seed) for seed in (0, 1) for label in ("slow", "fast")]
    reasons = [
        reason.format(log=out / f"rates/{label}/seed-{seed}.log")
        for (label, seed), reason in zip(runs, ENDS.values(), strict=True)
    ]
    assert code == 1
    assert said.splitlines() == [
        f"rates: {number} of 4: {label}, seed {seed}: failed: {reason}"
        for number, ((label, seed), reason) in enumerate(zip(runs, reasons, strict=True), start=1)
    ]
    for (label, seed), reason in zip(runs, reasons, strict=True):
        assert f"- {label}, seed {seed}: {reason}\n" in text
    code, text, _ = run("study", file, *BRIEF, "--out", out, "--report")
    assert code == 0 and f"- slow, seed 0: {reasons[0]}\n" in text


def instead(monkeypatch, script):
    """Let every run be a script of the shell."""
    popen = subprocess.Popen
    monkeypatch.setattr(
        "mmretrieval.study.runner.subprocess.Popen", lambda command, **options: popen(["sh", "-c", script], **options)
    )


def test_two_jobs_are_at_work_side_by_side_and_share_the_cores(study_file, tmp_path, run, monkeypatch):
    """The first run ends only when there is a second one."""
    met = f"touch {tmp_path}/met.$$; while [ $(ls {tmp_path}/met.* | wc -l) -lt 2 ]; do sleep 0.01; done"
    instead(monkeypatch, f"{met}; echo threads: $OMP_NUM_THREADS; exit 1")
    monkeypatch.setattr("mmretrieval.study.runner.cores", lambda: 6)
    code, text, said = run("study", study_file(), *BRIEF, "--out", tmp_path / "out", "--jobs", 2)
    assert code == 1 and len(list(tmp_path.glob("met.*"))) == 4
    assert sorted(line.split("; see")[0].split(": ", 2)[2] for line in said.splitlines()) == [
        f"{label}, seed {seed}: failed: threads: 3" for label in ("fast", "slow") for seed in (0, 1)
    ]
    assert text.count("threads: 3; see") == 4


def test_all_jobs_are_stopped_and_none_is_lost(planned, tmp_path, monkeypatch):
    _, runs = planned()
    trapped = f"trap 'touch {tmp_path}/saved.$$; exit 1' INT; touch {tmp_path}/at-work.$$; while :; do sleep 0.01; done"
    instead(monkeypatch, trapped)

    def interrupt(children):
        while len(list(tmp_path.glob("at-work.*"))) < 2:
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr("mmretrieval.study.runner._some_ended", interrupt)
    ledger = Ledger(tmp_path / "ledger.json")
    with pytest.raises(StudyInterrupted) as caught:
        run_missing(runs, runs, ledger, tmp_path / "out", print, lambda: None, jobs=2)
    assert str(caught.value) == f"stopped in {runs[0].name}, {runs[1].name}; the same command goes on there"
    assert len(list(tmp_path.glob("saved.*"))) == 2
    assert all(ledger.seconds(run) is not None and ledger.failure(run) is None for run in runs[:2])


def saves_when_stopped(monkeypatch, tmp_path, meanwhile):
    """Let every run be a script that saves at Ctrl-C; ``meanwhile`` happens when it is at work and nobody knows it."""
    popen = subprocess.Popen
    trapped = f"trap 'touch {tmp_path}/saved; exit 1' INT; touch {tmp_path}/at-work; while :; do sleep 0.01; done"

    def start(command, **options):
        child = popen(["sh", "-c", trapped], **options)
        wait_for((tmp_path / "at-work").exists, child)
        meanwhile()
        return child

    monkeypatch.setattr("mmretrieval.study.runner.subprocess.Popen", start)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_just_being_started_is_stopped_too(planned, tmp_path, monkeypatch, number):
    _, runs = planned()

    def ask():
        for _ in range(2):  # whoever stops it may be impatient
            os.kill(os.getpid(), number)

    saves_when_stopped(monkeypatch, tmp_path, ask)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(StudyInterrupted) as caught:
        run_missing(runs, runs, Ledger(tmp_path / "ledger.json"), tmp_path / "out", print, lambda: None)
    assert str(caught.value) == f"stopped in {runs[0].name}; the same command goes on there"
    assert (tmp_path / "saved").exists()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_study_in_the_background_ignores_ctrl_c_and_its_runs_hear_it(planned, tmp_path, monkeypatch):
    """Shells start what is in the background of a script with Ctrl-C ignored, which children inherit."""
    _, runs = planned()

    def ask():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    saves_when_stopped(monkeypatch, tmp_path, ask)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(StudyInterrupted):
            run_missing(runs, runs, Ledger(tmp_path / "ledger.json"), tmp_path / "out", print, lambda: None)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "saved").exists()


def test_a_folder_at_work_is_refused(planned, tmp_path):
    study, runs = planned()
    out = tmp_path / "out"
    out.mkdir()
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(StorageError) as caught:
        run_missing(runs, runs, Ledger(tmp_path / "ledger.json"), out, print, lambda: None)
    os.close(handle)
    assert str(caught.value) == (
        f"{out}: another 'mmretrieval study', or a run it has left behind, is at work there: wait for it, or choose "
        "another folder with --out"
    )


def test_seeds_that_are_no_numbers(study_file, run):
    code, _, said = run("study", study_file(), "--seeds", "0,x")
    assert code == 2 and "got '0,x'; different numbers from 0 on are needed, e.g. 0,1,2" in " ".join(said.split())
