"""Regenerate the code in ``protos/v1``; a test fails when it is stale."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def generate(target: Path) -> None:
    """Write the generated code of every ``.proto`` below ``target``."""
    from importlib.resources import files  # noqa: PLC0415 - a development tool only

    from grpc_tools import protoc  # noqa: PLC0415 - the same

    sources = sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("protos/v1/*.proto"))
    code = protoc.main(
        [
            "protoc",
            f"--proto_path={ROOT}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--python_out={target}",
            f"--pyi_out={target}",
            f"--grpc_python_out={target}",
            *sources,
        ]
    )
    if code:
        sys.exit(code)


if __name__ == "__main__":
    generate(ROOT)
