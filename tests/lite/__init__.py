"""A real consumer of what attnfuse emits for Lite: MindSpore Lite 2.0.0 for CPU, under CPython 3.7.

    downlevel      a legalised, unfused graph as MindIR version 1, the newest that Lite 2.0.0 reads
    worker         the script that runs it there
    selection      where the interpreter is; where there is none, leaves these tests out and says so
    runtime        running a graph in it
    agreement      a graph run by Lite, held against onnxruntime

Lite 2.0.0 knows no flash attention and runs on a CPU: what it shows is that the rest of a graph is built, wired and
encoded as Lite understands it. `tools/test.sh` installs it where CPython 3.7 is present.
"""
