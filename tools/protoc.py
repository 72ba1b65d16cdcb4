"""Compile attnfuse/mindir/mindir.proto: writes mindir.desc (for run time) and mindir_pb2.pyi (for type checkers).

Usage: python tools/protoc.py [FOLDER]; FOLDER is where to write, by default beside the .proto file.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

SOURCE = Path(__file__).resolve().parent.parent / "attnfuse" / "mindir"


def compile_schema(folder: Path) -> int:
    """Run protoc into `folder`; returns its exit code."""
    arguments = ["--include_imports", f"--descriptor_set_out={folder / 'mindir.desc'}", f"--pyi_out={folder}"]
    code: int = protoc.main(["protoc", f"-I{SOURCE}", *arguments, "mindir.proto"])
    return code


if __name__ == "__main__":
    sys.exit(compile_schema(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE))
