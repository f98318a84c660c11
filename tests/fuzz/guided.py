"""``python -m tests.fuzz.guided --reader "array, .npy" -runs=10000``: bytes that reach new lines of a reader (atheris).

Needs atheris (``pip install atheris``). The arguments of libFuzzer follow; an input that is not answered in a sentence
ends the run with its bytes, as ``@bytes`` takes them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Run libFuzzer on one reader, its valid files to begin with; does not return."""
    try:
        import atheris
    except ImportError:
        sys.exit("guided fuzzing needs atheris: pip install atheris")
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.guided", description=__doc__)
    parser.add_argument("--reader", required=True)
    given, rest = parser.parse_known_args()
    folder = Path(tempfile.mkdtemp())
    (seeds := folder / "seeds").mkdir()
    with atheris.instrument_imports(
        include=["theory.architecture", "simulations", "yaml", "numpy.lib", "zipfile", "csv"]
    ):
        from tests.fuzz.check import run_reader
        from tests.fuzz.files import Files
        from tests.fuzz.readers import readers

        reader, files = readers()[given.reader], Files(folder)
        for name in reader.names:
            (seeds / name).write_bytes((files.corpus / name).read_bytes())
            run_reader(files, reader.read, f"@{name}")  # what it imports is to be followed, too
    suffix = Path(reader.names[0]).suffix

    def one(content: bytes) -> None:
        recipe = f"@bytes {suffix} {content.hex()}"
        outcome = run_reader(files, reader.read, recipe)
        if outcome.wrong is not None:
            raise RuntimeError(f"{given.reader}: {outcome.wrong}\n{recipe}\n{outcome.detail}")

    atheris.Setup([sys.argv[0], str(seeds), *rest], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
