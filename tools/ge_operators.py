"""Write attnfuse/targets/data/ge_operators.json: what CANN and MindSpore's converter say of the operators we emit.

    python tools/ge_operators.py ADAPTERS PROTOTYPES KERNELS

ADAPTERS, PROTOTYPES and KERNELS are JSON files: MindSpore's adapters by primitive, CANN's operator prototypes by GE
operator, and the element types its AI Core kernels are listed for, by GE operator and SoC. Kept are the primitives of
`attnfuse.targets.operators` and `composites` and what stands behind them, with element types under MindSpore's names,
a line each.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attnfuse.targets.composites import COMPOSITE_OPERATORS, CUSTOM_OPERATORS, JUDGED
from attnfuse.targets.ge import FILE, SPECIALISED
from attnfuse.targets.operators import OPERATORS, REFUSED

SOCS = ("ascend310p", "ascend910b", "ascend910_93")
SOURCES = {
    "adapters": "MindSpore 2.7.1, op_adapter/op_declare",
    "prototypes": "CANN, operator prototypes of June 2025",
    "kernels": "CANN 8.1.RC1, aic-*-ops-info.json",
    "passes": "MindSpore Lite at 2b28870, July 2025",
}
CUSTOM_ATTRIBUTES: dict[str, dict[str, str]] = {
    "GeluV2": {"approximate": "str"},
    "RotaryMul": {},
    "SwiGlu": {"dim": "int"},
    "TransposeBatchMatMul": {"perm_x1": "listint", "perm_x2": "listint", "perm_y": "listint"},
}
"""What `Custom` nodes went through GE's graph library with; no adapter is there to bring a prototype along."""
OPTIONAL = {"bias", "scale"}

_NAMES = {
    **{name.upper(): name for name in ("bool", "int8", "int16", "int32", "int64", "float16", "complex64")},
    **{name.upper(): name for name in ("uint8", "uint16", "uint32", "uint64", "complex128")},
    "FLOAT": "float32",
    "FLOAT32": "float32",
    "BF16": "bfloat16",
    "BFLOAT16": "bfloat16",
    "DOUBLE": "float64",
    "DI_UINT16": "uint16",
}
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_COMPLEX = ("complex64", "complex128")
_SETS = {
    "ALL": ("bool", *_INTEGERS, *_FLOATS, *_COMPLEX),
    "BasicType": (*_INTEGERS, *_FLOATS, *_COMPLEX),
    "NumberType": (*_INTEGERS, *_FLOATS, *_COMPLEX),
    "RealNumberType": (*_INTEGERS, *_FLOATS),
    "IntegerDataType": _INTEGERS,
    "FloatingDataType": ("float16", "float32", "float64"),
    "UnaryDataType": (*_FLOATS, *_COMPLEX),
    "IndexNumberType": ("int32", "int64"),
}
"""CANN's names for lists (its header graph/types.h)."""
_NUMBERS = {
    **dict(zip((0, 1, 2, 3, 4), ("float32", "float16", "int8", "int32", "uint8"), strict=True)),
    **dict(zip((6, 7, 8, 9, 10), ("int16", "uint16", "uint32", "int64", "uint64"), strict=True)),
    **dict(zip((11, 12, 16, 17, 27), ("float64", "bool", "complex64", "complex128", "bfloat16"), strict=True)),
}


def dtypes(text: str, variables: dict[str, str]) -> list[str]:
    """The element types of a list as a prototype writes it; [] for what it leaves to a rule of its own."""
    found: set[str] = set()
    for word in re.findall(r"\w+", variables.get(text, text)):
        if word.isdigit():
            found |= {_NUMBERS[number] for number in (int(word),) if number in _NUMBERS}
        elif word == "promote":
            return []
        else:
            name = word.removeprefix("DT_")
            found |= set(_SETS.get(name, (_NAMES[name],) if name in _NAMES else ()))
    return sorted(found)


def prototype(row: dict[str, Any]) -> dict[str, Any]:
    """Ports with their element types; a dynamic port has as many tensors as are given."""
    variables = row.get("types", {})
    dynamic = {name.removeprefix("dyn:"): text for name, text in variables.items() if name.startswith("dyn:")}
    given = {name for name, *_ in (*row["inputs"], *row["outputs"])}
    return {
        "inputs": {name: [need == "required", *dtypes(text, variables)] for name, need, text in row["inputs"]},
        "outputs": {name: dtypes(text, variables) for name, text in row["outputs"]},
        "dynamic": {name: dtypes(text, {}) for name, text in dynamic.items() if name not in given},
        "attributes": {name: kind for name, (kind, _) in row["attributes"].items()},
        "required": row["required"],
    }


def kernels(row: dict[str, Any]) -> dict[str, Any]:
    """By SoC the ports, and the combinations of types; null where the kernel decides itself, or there is none."""
    found: dict[str, Any] = {}
    for soc in SOCS:
        listed = row[soc]
        if isinstance(listed, str):
            found[soc] = listed
        elif listed is None:
            found[soc] = None
        else:
            types = listed.get("dtypes")
            found[soc] = {
                "inputs": listed["inputs"],
                "outputs": listed["outputs"],
                "dtypes": None if types is None else sorted({" ".join(combination(c)) for c in types}),
            }
    return found


def custom_prototype(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """The prototype of an operator of which only the kernels are listed: ports and types are theirs."""
    listed = row["ascend910b"]
    columns = [sorted(set(column)) for column in zip(*map(combination, listed["dtypes"]), strict=True)]
    ports = dict(zip((*listed["inputs"], *listed["outputs"]), columns, strict=True))
    return {
        "inputs": {port: [port not in OPTIONAL, *ports[port]] for port in listed["inputs"]},
        "outputs": {port: ports[port] for port in listed["outputs"]},
        "dynamic": {},
        "attributes": CUSTOM_ATTRIBUTES[name],
        "required": [],
    }


def combination(types: Iterable[str]) -> list[str]:
    """A kernel's types under MindSpore's names."""
    return ["float64" if name == "double" else name for name in types]


def rows(adapters: dict[str, Any], prototypes: dict[str, Any], listed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The three tables, cut to what we need."""
    names = sorted(
        name for name in {*OPERATORS, *REFUSED, *COMPOSITE_OPERATORS} if name in adapters and adapters[name]["ge"]
    )
    behind = {adapters[name]["ge"] for name in names} | {*CUSTOM_OPERATORS, *JUDGED}
    behind |= {SPECIALISED[name] for name in behind & set(SPECIALISED)}
    return {
        "adapters": {name: adapters[name] for name in names},
        "prototypes": {
            name: custom_prototype(name, listed[name]) if name in CUSTOM_ATTRIBUTES else prototype(prototypes[name])
            for name in sorted(behind)
            if name in prototypes or name in CUSTOM_ATTRIBUTES
        },
        "kernels": {name: kernels(listed[name]) for name in sorted(behind) if name in listed},
    }


def text(tables: dict[str, dict[str, Any]]) -> str:
    """JSON with a line for each operator."""
    parts = [f'"sources": {json.dumps(SOURCES)}']
    for table, entries in tables.items():
        message = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
        parts.append(f'"{table}": {{\n{message}\n}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    """Read three files, write one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("adapters", "prototypes", "kernels"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    paths = (given.adapters, given.prototypes, given.kernels)
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    FILE.write_text(text(rows(*documents)), encoding="utf-8")


if __name__ == "__main__":
    main()
