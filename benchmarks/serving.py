"""How fast a warm server answers typed captions.

    python benchmarks/serving.py COLLECTION [--clients 8] [--requests 5000] [--model MODEL] [--out serving.json]

Starts ``mmretrieval serve`` as a process of its own, waits until it says that it is ready, and has clients ask it over
connections that stay open, each caption another one. One client alone asks first. What encoding a caption and searching
for it take is measured in this process on the same captions, one at a time, on one thread. Prints a table and writes
JSON; exit code 1 if a request failed.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import numpy as np

from mmretrieval.environment import environment
from mmretrieval.errors import QueryError
from mmretrieval.search.mixture import embed_mixtures, prepare
from mmretrieval.search.request import Request
from mmretrieval.search.searcher import Searcher

ALONE = 200
WORDS = 8
BAR = {"p50": 50.0, "p95": 150.0}
"""Milliseconds, from eight clients."""


class Server:
    """The command, in a process of its own."""

    def __init__(self, collection: Path, model: Path | None):
        command = [sys.executable, "-m", "mmretrieval", "serve", str(collection), "--port", "0"]
        command += ["--model", str(model)] if model else []
        start = time.perf_counter()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ)
        found = re.search(r"http://[^:]+:(\d+)/", self.process.stdout.readline())
        if not found:
            raise SystemExit("the server did not start")
        self.port = int(found.group(1))
        self.seconds_to_start = time.perf_counter() - start

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)


def captions_of(searcher: Searcher, count: int) -> list[str]:
    """Captions of words that the model knows, all different."""
    tokenizer, random = searcher.model.processor.tokenizer, np.random.default_rng(0)
    found: dict[str, None] = {}
    for _ in range(100 * count):
        if len(found) == count:
            break
        caption = tokenizer.decode(random.integers(tokenizer.size, size=WORDS).tolist()).strip()
        try:
            searcher.model.processor.text(caption)
        except QueryError:
            continue
        found[caption] = None
    return list(found)


def ask(port: int, captions: list[str], times: list[float], errors: list[str]) -> None:
    """Ask one caption after the other over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for caption in captions:
        start = time.perf_counter()
        try:
            connection.request("GET", f"/api/search?text={quote(caption)}")
            answer = connection.getresponse()
            body = answer.read()
            took = time.perf_counter() - start
            if answer.status != 200 or not json.loads(body)["hits"]:
                errors.append(f"{answer.status} {body[:200]!r}")
            times.append(took)
        except (OSError, http.client.HTTPException) as error:
            errors.append(repr(error))
            connection.close()
    connection.close()


def ask_together(port: int, captions: list[str], clients: int) -> dict:
    """Have clients share captions; return milliseconds, errors and requests per second."""
    times: list[float] = []
    errors: list[str] = []
    threads = [
        threading.Thread(target=ask, args=(port, captions[client::clients], times, errors)) for client in range(clients)
    ]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    spread = {f"p{share}": float(np.percentile(times, share)) * 1000 for share in (50, 95, 99)}
    return {
        "clients": clients,
        "requests": len(captions),
        "errors": len(errors),
        "first_errors": errors[:3],
        **{name: round(value, 2) for name, value in spread.items()},
        "requests_per_second": round(len(captions) / seconds, 1),
    }


def take_apart(searcher: Searcher, captions: list[str]) -> dict[str, float]:
    """Return milliseconds of encoding a caption and of searching for it, each as the median."""
    encoding, searching = [], []
    for caption in captions:
        request = Request(text=caption)
        begin = time.perf_counter()
        mixture = prepare(searcher.model, searcher.gallery, request)
        (vector,) = embed_mixtures(searcher.model, [mixture])
        between = time.perf_counter()
        searcher._look_up(request, mixture, vector)
        encoding.append(between - begin)
        searching.append(time.perf_counter() - between)
    # the first ones load what is needed
    return {
        "encode": round(float(np.median(encoding[10:])) * 1000, 2),
        "search": round(float(np.median(searching[10:])) * 1000, 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("collection", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/serving.json"))
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    searcher = Searcher.open(arguments.collection, arguments.model)
    captions = captions_of(searcher, arguments.requests)
    parts = take_apart(searcher, captions[: ALONE + 10])
    with Server(arguments.collection, arguments.model) as server:
        alone = ask_together(server.port, captions[:ALONE], 1)
        together = ask_together(server.port, captions, arguments.clients)
    shares = {name: round(value / alone["p50"], 3) for name, value in parts.items()}
    report = {
        "moments": len(searcher.gallery),
        "seconds_to_start": round(server.seconds_to_start, 2),
        "together": together,
        "alone": alone,
        "milliseconds": parts,
        "share_of_alone": shares,
        "bar": BAR,
        "environment": environment(),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=2) + "\n")
    for name in ("alone", "together"):
        row = report[name]
        print(
            f"{row['clients']} clients: p50 {row['p50']:.1f} ms, p95 {row['p95']:.1f} ms, p99 {row['p99']:.1f} ms, "
            f"{row['requests_per_second']:.0f} requests/s, {row['errors']} errors in {row['requests']}"
        )
    print(f"of one alone, encoding takes {shares['encode']:.0%} and searching {shares['search']:.0%}")
    print(f"bar: p50 < {BAR['p50']:g} ms, p95 < {BAR['p95']:g} ms; written to {arguments.out}")
    return 1 if alone["errors"] or together["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
