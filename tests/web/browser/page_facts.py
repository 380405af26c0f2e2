"""What the server and the browser of these tests are set up with."""

ELSEWHERE = "films.test"
"""A name that leads here, for the browser and the server alone: an origin that browsers do not trust."""

VIDEOS = 30
HALF = 3.0
"""Seconds of each of the two colours of a video, which are its two moments."""

BROKEN = ("notes.mp4", "empty.mp4")
UPLOAD_BYTES = 200_000
SECONDS = 6.0
TOKEN = "only-for-friends"

PAGE = 24


def ids(answer) -> list[str]:
    return [hit.id for hit in answer]


def expect_text(page, selector: str, text: str) -> None:
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector)?.textContent.includes(text)", arg=[selector, text]
    )
