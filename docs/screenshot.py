"""Write docs/report.png: `python docs/screenshot.py REPORT.html`, of the report of a demonstration.

The viewer, with the mouse on a patch of the last of three methods; with playwright, and a Chromium that it finds.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).with_name("report.png")
WIDTH, HEIGHT = 1200, 900
SHOWN = "() => document.getElementById('viewer').dataset.turn"


def main(report: Path) -> None:
    """Take the picture."""
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(report.resolve().as_uri())
        page.wait_for_function(SHOWN)
        page.locator("#viewer").evaluate("viewer => viewer.scrollIntoView()")
        page.locator("#panes [data-run] canvas").last.hover(position={"x": 150, "y": 120})
        viewer, pair = (page.locator(name).bounding_box() for name in ("#viewer", "#pair"))
        assert viewer is not None and pair is not None
        top = max(viewer["y"], 0)
        page.screenshot(
            path=PICTURE, clip={"x": 0, "y": top, "width": WIDTH, "height": pair["y"] + pair["height"] + 14 - top}
        )
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
