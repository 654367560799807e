"""Makes demo.svg, the picture of the README, from a real run: `.venv/bin/python docs/images/demo.py`, from anywhere.

Runs `istioctl demo`, breaks half of the calls to details, and draws its last table as a terminal shows it.
"""

import json
import re
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

import msgspec
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from istioctl.demo.screen import Scene, introduction, is_command, picture
from istioctl.demo.traffic import Row
from istioctl.demo.words import Hint

SECONDS, SHIFTED_AT = 24, 10
ISTIOCTL = [sys.executable, "-c", "from istioctl.cli import main; main()"]
HINTS = (
    Hint("istioctl shift reviews v3=100", "all reviews come from v3 (red stars)"),
    Hint("istioctl apply -f examples/bookinfo/rules/broken-details.yaml", "half of all calls to details fail"),
    Hint("istioctl delete vs reviews details --ignore-not-found", "everything is as it was"),
)
"""As they are printed where the state directory is the usual one."""

NO_FONTS = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""Without fonts from elsewhere: who looks at the picture tells nobody."""


def scenes() -> list[dict[str, object]]:
    """What a demo prints in `SECONDS`, while somebody breaks details in a second terminal."""
    with tempfile.TemporaryDirectory(prefix="d") as folder:
        where = ["--state-dir", f"{folder}/s"]
        demo = [*ISTIOCTL, *where, "demo", "-o", "json", "--duration", str(SECONDS)]
        with subprocess.Popen(demo, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdout
            found = []
            for number, line in enumerate(running.stdout):
                found.append(json.loads(line))
                if number == SHIFTED_AT:
                    subprocess.run([*ISTIOCTL, *where, "apply", "-f", broken()], check=True)
    return found


def broken() -> str:
    return str(Path(__file__).parents[2] / "examples/bookinfo/rules/broken-details.yaml")


def main() -> None:
    last = scenes()[-1]
    rows, url = msgspec.convert(last["rows"], tuple[Row, ...]), str(last["url"])
    scene = Scene(rows=rows, url=url, curl=f"curl {url}", hints=HINTS)
    console = Console(record=True, width=92, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print("$ make demo", style="bold")
    for line in introduction(scene):
        console.print(line, markup=False, highlight=False, style="cyan" if is_command(line) else None)
    console.print(picture(scene))
    svg = console.export_svg(title="istioctl demo", code_format=NO_FONTS, unique_id="demo")
    Path(__file__).with_suffix(".svg").write_text(svg)


if __name__ == "__main__":
    main()
