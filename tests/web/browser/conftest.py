"""A real server, a small collection behind it, and a real browser in front; without a browser the tests are skipped."""

import colorsys
import json
import os
import shutil
import threading
import wave
from contextlib import contextmanager

import numpy as np
import pytest
from fakes import PITCH, ColourModel  # on the path: tests/web/conftest.py
from films import film
from page_facts import BROKEN, ELSEWHERE, HALF, SECONDS, TOKEN, UPLOAD_BYTES, VIDEOS

from mmretrieval.collection import Collection
from mmretrieval.search.searcher import Searcher
from mmretrieval.web.app import create_app
from mmretrieval.web.gate import Gate
from mmretrieval.web.server import Announcing, bind, configure
from mmretrieval.web.service import Service
from mmretrieval.web.serving import Serving

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SWITCHES = [
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1",
]


def film_of(path, *colours, fps=8, size=(96, 54)):
    """Write three seconds of every colour (r, g, b), with a square that wanders, and a key frame every second."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "threads": "1"})
        stream.width, stream.height = size
        stream.pix_fmt, stream.gop_size = "yuv420p", fps
        for number in range(int(HALF * fps) * len(colours)):
            picture = np.full((size[1], size[0], 3), colours[int(number / (HALF * fps))], np.uint8)
            picture[4:10, (4 * number) % (size[0] - 6) :][:, :6] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def write_films(folder):
    """Write videos of many colours with labels and dates, one that browsers do not play and two that are none."""
    rows = []
    for number in range(VIDEOS):
        hue = number / VIDEOS
        colours = [
            tuple(int(255 * part) for part in colorsys.hsv_to_rgb((hue + turn) % 1, 0.5 + 0.4 * (number % 2), 0.8))
            for turn in (0.0, 0.4)
        ]
        path = folder / ("harbour" if number % 3 else "mountains") / f"film-{number:02d}.mp4"
        film_of(path, *colours)
        os.utime(path, (1_700_000_000 + 86_400 * number,) * 2)
        rows.append(
            {"id": path.stem, "video": str(path.relative_to(folder)), "labels": ["rising" if number % 2 else "falling"]}
        )
    film(folder / "harbour" / "old.avi", "blue", codec="mpeg4")
    rows.append({"id": "old", "video": "harbour/old.avi", "labels": []})
    for name in BROKEN:
        (folder / name).write_bytes(b"these are no pictures\n" * (name == "notes.mp4"))
        rows.append({"id": name, "video": name, "labels": []})
    manifest = folder / "all.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return manifest


@contextmanager
def running(service, token=None):
    """Serve on a free port; the address while it runs."""
    ready = threading.Event()
    with bind("127.0.0.1", 0) as taken:
        app = Gate(create_app(service), token, {"localhost", ELSEWHERE})
        server = Announcing(configure(app), ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        assert ready.wait(120)
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="session")
def filmed(tmp_path_factory):
    """The folder of a collection."""
    manifest = write_films(tmp_path_factory.mktemp("films") / "films")
    folder = tmp_path_factory.mktemp("filmed") / "harbour films"
    Collection.build(folder, [manifest], ColourModel(), "model", progress=False, window=HALF)
    return folder


@pytest.fixture(scope="session")
def searcher(filmed):
    """What the page has to agree with."""
    collection = Collection.open(filmed)
    yield Searcher(ColourModel(), collection)
    collection.close()


@pytest.fixture(scope="session")
def running_service(filmed):
    service = Service(Serving(filmed, ColourModel()), upload_bytes=UPLOAD_BYTES, seconds=SECONDS)
    service.start()
    yield service
    service.close()


@pytest.fixture(scope="session")
def address(running_service):
    """Where the page is."""
    with running(running_service) as where:
        yield where


@pytest.fixture(scope="session")
def guarded(filmed):
    """Where it is behind a token."""
    service = Service(Serving(filmed, ColourModel()))
    with running(service, TOKEN) as where:
        yield where
    service.close()


@pytest.fixture(scope="session")
def said(tmp_path_factory):
    """A recording of what the browser's microphone hears: the tone for green, in the rhythm of speech."""
    path = tmp_path_factory.mktemp("said") / "green.wav"
    times = np.arange(48_000 * 3) / 48_000
    tone = 0.5 * np.sin(2 * np.pi * PITCH["green"] * times) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * times))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes((tone * 32_767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def browser(said):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium here: install the system's package, or set $CHROMIUM")
    switches = [*SWITCHES, f"--use-file-for-fake-audio-capture={said}%noloop"]
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=switches, chromium_sandbox=False)
        yield launched
        launched.close()


class Watched:
    """A page, and what its browser complained of."""

    def __init__(self, page):
        self.page, self.complaints, self.requests = page, [], []
        self.refusals = False  # whether answers with an error are part of the test
        page.set_default_timeout(60_000)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request))

    def _hear(self, message):
        if "Cross-Origin-Opener-Policy header has been ignored" in message.text:
            return  # what Chromium says of any page that is neither local nor https
        if message.type in ("error", "warning") and not (self.refusals and "Failed to load resource" in message.text):
            self.complaints.append(f"{message.text} {message.location.get('url', '')}")

    def names(self) -> list[str]:
        """What the cards say, in their order."""
        return [f"{item.inner_text()}" for item in self.page.locator(".card:not(.ghost) .name").all()]

    def ids(self) -> list[str]:
        return self.page.locator(".card:not(.ghost)").evaluate_all("cards => cards.map(card => card.dataset.id)")

    def search(self, text: str) -> None:
        """Type a question and wait for its answer."""
        self.page.fill("#text", text)
        with self.page.expect_response("**/api/search?*"):
            self.page.press("#text", "Enter")
        self.settled()

    def settled(self) -> None:
        self.page.wait_for_selector('#results[aria-busy="false"]', state="attached")
        self.page.wait_for_selector(".card:not(.ghost), .banner", state="attached")

    def fits(self) -> bool:
        """Whether nothing sticks out at the side."""
        return self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture
def visit(browser, address):
    """Open the page in a window of its own; at the end nobody may have complained."""
    opened = []

    def open_page(path: str = "/", base: str = address, **options) -> Watched:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 800}, "locale": "en-GB"} | options)
        watched = Watched(context.new_page())
        opened.append((context, watched))
        watched.page.goto(base + path)
        return watched

    yield open_page
    for context, watched in opened:
        context.close()
        assert watched.complaints == []
