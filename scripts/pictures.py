"""Make the pictures of README.md: the demo's page, and a figure of it. Needs a Chromium.

python scripts/pictures.py
"""

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from cupl_bench.__main__ import main as cupl_bench

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def photograph(page: Path) -> bytes:
    """Return a picture of the report's first view as PNG.

    Raises:
        SystemExit: no Chromium is installed, or the page complains.
    """
    chromium = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if chromium is None:
        raise SystemExit("No Chromium was found. Install one (Debian: apt-get install chromium).")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        view = browser.new_page(viewport={"width": 1480, "height": 860})
        complaints: list[str] = []
        view.on("pageerror", lambda error: complaints.append(str(error)))
        view.goto(page.as_uri())
        view.wait_for_selector("table tbody tr")
        view.wait_for_selector(".main-svg")
        picture = view.screenshot()
        browser.close()
    if complaints:
        raise SystemExit(f"The page complains: {complaints[0]}")
    return picture


def save(picture: bytes, name: str, width: int) -> None:
    """Save a picture below docs/pictures as WebP, ``width`` pixels wide, and name it."""
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    PICTURES.mkdir(exist_ok=True)
    image.save(PICTURES / name, quality=90, method=6)
    print(PICTURES / name)


def main() -> None:
    """Run the demo, and make both pictures of what it leaves."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        if code := cupl_bench(["eval", "experiment=demo", f"results_dir={results}"]):
            raise SystemExit(code)
        save(photograph(results / "report" / "index.html"), "page.webp", 1480)
        save((results / "figures" / "classes_demo_demo_cupl.png").read_bytes(), "figure.webp", 640)


if __name__ == "__main__":
    main()
