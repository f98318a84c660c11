"""``python tests/check_dist.py dist``: wheel and sdist, each installed into an empty environment and used.

The wheel gets the notebooks' extra, the bundled data and PyTorch, and runs every notebook outside the repository;
the sdist gets nothing but what it needs, and answers a question.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
QUESTION = ["threshold", "--majority", "5", "--minority", "5", "--E-W", "1", "--E-H", "5", "--json"]


def empty_environment(folder: Path) -> Path:
    """The scripts' folder of a new virtual environment."""
    venv.create(folder, with_pip=True)
    return folder / ("Scripts" if sys.platform == "win32" else "bin")


def install(scripts: Path, what: str) -> None:
    pip = [str(scripts / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--constraint", str(ROOT / "constraints.txt"), what], check=True)


def answers(scripts: Path, folder: Path) -> None:
    """The command line gives a number that is known."""
    out = subprocess.run([str(scripts / "theory"), *QUESTION], check=True, capture_output=True, text=True, cwd=folder)
    assert abs(json.loads(out.stdout)["R0"] - 12.19244708) < 1e-8, out.stdout


def notebooks_run(scripts: Path, folder: Path) -> None:
    """Every notebook, from a copy of its folder alone."""
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    for source in sorted((folder / "notebooks").glob("[0-9]*.py")):
        command = [str(scripts / "python"), "-W", "ignore", str(source)]
        subprocess.run(command, check=True, cwd=folder, env={"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
                       stdout=subprocess.DEVNULL)  # fmt: skip
        print(f"  {source.name} runs from the wheel", flush=True)


def main(dist: Path) -> None:
    """Both, newest build."""
    wheel, sdist = (max(dist.glob(pattern), key=lambda p: p.stat().st_mtime) for pattern in ("*.whl", "*.tar.gz"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scripts = empty_environment(folder / "from-sdist")
        install(scripts, str(sdist))
        answers(scripts, folder)
        print(f"{sdist.name} installs into an empty environment and answers", flush=True)
        scripts = empty_environment(folder / "from-wheel")
        install(scripts, f"{wheel}[notebooks,demo,torch,sweep]")
        answers(scripts, folder)
        print(f"{wheel.name} installs into an empty environment and answers", flush=True)
        notebooks_run(scripts, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
