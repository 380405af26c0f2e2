"""Worker processes: from scripts as people write them, and with what only the script knows."""

import subprocess
import sys
import threading

import pytest

from mmretrieval.processes import worker_processes

WITHOUT_GUARD = """
import sys
print("the script runs")
from mmretrieval.data.dataset import create_loader
from mmretrieval.processes import worker_processes
from torch.utils.data import DataLoader
from concurrent.futures import ProcessPoolExecutor

loader = DataLoader(range(4), num_workers=2, multiprocessing_context=worker_processes())
print(sorted(int(item) for item in loader))
with ProcessPoolExecutor(1, worker_processes()) as pool:
    print(pool.submit(abs, -7).result())
print(sys.modules["__main__"].__file__ == __file__)
"""

DEFINED_IN_THE_SCRIPT = """
from torch.utils.data import DataLoader
from mmretrieval.processes import worker_processes

class Squares:
    def __len__(self):
        return 4
    def __getitem__(self, place):
        return place**2

if __name__ == "__main__":
    print([int(item) for item in DataLoader(Squares(), num_workers=1, multiprocessing_context=worker_processes())])
"""


ASKED_ABOUT_CTRL_C = """
import signal
from mmretrieval.processes import worker_processes

def is_deaf():
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())

def answer(pipe):
    pipe.send(is_deaf())

if __name__ == "__main__":
    ours, theirs = worker_processes().Pipe()
    worker_processes().Process(target=answer, args=(theirs,)).start()
    print(ours.recv(), is_deaf())
"""


def run(tmp_path, text):
    (tmp_path / "script.py").write_text(text)
    return subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("start", ["worker_processes", "_Spawn"])
def test_a_script_without_a_guard_runs_once(tmp_path, start):
    """Also where there is no fork server."""
    done = run(tmp_path, WITHOUT_GUARD.replace("worker_processes", start))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the script runs", "[0, 1, 2, 3]", "7", "True"]
    assert "Traceback" not in done.stderr


def test_what_is_defined_in_the_script_reaches_its_workers(tmp_path):
    done = run(tmp_path, DEFINED_IN_THE_SCRIPT)
    assert (done.returncode, done.stdout) == (0, "[0, 1, 4, 9]\n"), done.stderr


@pytest.mark.parametrize("start", ["worker_processes", "_Spawn"])
def test_they_do_not_hear_ctrl_c_not_even_while_they_start(tmp_path, start):
    """A terminal sends it to all of them, and whoever started them says what there is to say."""
    done = run(tmp_path, ASKED_ABOUT_CTRL_C.replace("worker_processes", start))
    assert (done.returncode, done.stdout) == (0, "True False\n"), done.stderr


def test_what_cannot_be_sent_is_an_error_and_the_script_is_back():
    script = sys.modules["__main__"]
    process = worker_processes().Process(target=print, args=(threading.Lock(),))
    with pytest.raises(TypeError, match="pickle"):
        process.start()
    assert sys.modules["__main__"] is script


def test_many_threads_start_processes():
    """The module that is hidden meanwhile is the script again in the end."""
    script, context = sys.modules["__main__"], worker_processes()
    processes = [context.Process(target=abs, args=(1,)) for _ in range(4)]
    threads = [threading.Thread(target=process.start) for process in processes]
    for thread in threads:
        thread.start()
    for thread, process in zip(threads, processes, strict=True):
        thread.join()
        process.join(60)
        assert process.exitcode == 0
    assert sys.modules["__main__"] is script
