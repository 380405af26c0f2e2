"""Makes ``docs/page.png``: the page of a collection on a desktop and, in dark mode, on a phone.

    python docs/page.py demo/collection --ask "a red dog runs on the beach"

It needs Chromium (``$CHROMIUM``, or ``chromium`` in the path) and ``pip install playwright``.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, sync_playwright

COLOURS = 256
EDGE = 24
CORNER = 22


def main() -> None:
    """Serve a collection, look at it, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("collection", type=Path)
    parser.add_argument("--ask", default="a red dog runs on the beach", help="the question")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("page.png"))
    given = parser.parse_args()
    command = [sys.executable, "-m", "mmretrieval", "serve", str(given.collection), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split(" open ")[1].split()[0]
        with sync_playwright() as playwright:
            chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, chromium_sandbox=False)
            desktop = look(browser, address, given.ask, (1180, 800), "light")
            phone = look(browser, address, given.ask, (360, 680), "dark")
            browser.close()
    finally:
        server.terminate()
        server.wait()
    compose(desktop, phone).save(given.out, optimize=True)
    print(f"{given.out}: {given.out.stat().st_size // 1000} kB")


def look(browser: Browser, address: str, question: str, size: tuple[int, int], scheme: str) -> Image.Image:
    """Ask a question on a screen of some size and return what is to be seen."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.goto(address)
    page.fill("#text", question)
    page.press("#text", "Enter")
    page.wait_for_selector(".card:not(.ghost)")
    page.wait_for_load_state("networkidle")
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(500)  # pictures fade in
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


def compose(desktop: Image.Image, phone: Image.Image) -> Image.Image:
    """Put a phone in front of the right edge of a desktop."""
    width = desktop.width + phone.width // 2 + 2 * EDGE
    height = max(desktop.height, phone.height) + 3 * EDGE
    whole = Image.new("RGB", (width, height), "white")
    for picture, place in (
        (desktop, (EDGE, EDGE)),
        (phone, (width - phone.width - EDGE, height - phone.height - EDGE)),
    ):
        mask = Image.new("L", picture.size)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, picture.width - 1, picture.height - 1), CORNER, fill=255)
        whole.paste(picture, place, mask)
        right, bottom = place[0] + picture.width - 1, place[1] + picture.height - 1
        ImageDraw.Draw(whole).rounded_rectangle((*place, right, bottom), CORNER, outline="#8c887b", width=2)
    return whole.quantize(COLOURS, dither=Image.Dither.NONE)


if __name__ == "__main__":
    main()
