"""Edits of types and constants: at one place, or of a size or an element type wherever it occurs."""

from __future__ import annotations

from random import Random

from attnfuse.mindir.schema import AttributeProto, ModelProto, TensorProto
from tools.fuzz.drawing import (
    ATTRIBUTE_TYPES,
    ELEMENT_TYPES,
    REAL,
    graphs,
    name_of,
    node,
    some,
    tensors,
    types,
    whole,
)


def _change_dims(random: Random, tensor: TensorProto) -> str:
    dims = list(tensor.dims)
    at = random.randrange(len(dims)) if dims else 0
    what = random.choice(("size", "size", "size", "size", "more", "less", "swap", "none"))
    if what == "size" and dims:
        dims[at] = whole(random, dims[at])
    elif what == "less" and dims:
        del dims[at]
    elif what == "swap" and len(dims) > 1:
        other = random.randrange(len(dims))
        dims[at], dims[other] = dims[other], dims[at]
    elif what == "none":
        dims = []
    else:
        dims.insert(at, whole(random))
    del tensor.dims[:]
    tensor.dims.extend(dims)
    return f"dims {dims}"


def change_tensor(random: Random, tensor: TensorProto) -> str:
    """Sizes, element type or data of a tensor."""
    what = random.random()
    if what < 0.55:
        return _change_dims(random, tensor)
    if what < 0.75:
        tensor.data_type = random.choice(ELEMENT_TYPES)
        return f"element type {tensor.data_type}"
    if what < 0.9:
        data = tensor.raw_data
        tensor.raw_data = random.choice(
            (b"", data[:-1], data + b"\0", data * 2, data[: len(data) // 2], b"\xff" * len(data), bytes(len(data)))
        )
        return f"{len(tensor.raw_data)} bytes of data"
    tensor.ClearField("raw_data")
    for field in (tensor.float_data, tensor.double_data):
        field.extend(random.choice(REAL) for _ in range(random.randrange(5)))
    for numbers in (tensor.int64_data, tensor.int32_data, tensor.uint64_data):
        numbers.extend(random.randrange(2**31) for _ in range(random.randrange(3)))
    return "data in other fields"


def _retype(random: Random, attribute: AttributeProto) -> str:
    attribute.type = random.choice(ATTRIBUTE_TYPES)
    return f"attribute of type {attribute.type}"


def change_elements(random: Random, attribute: AttributeProto) -> str:
    """Elements of a tuple: fewer, twice, none, of another type, or nested."""
    values = list(attribute.values)
    what = random.choice(("drop", "double", "empty", "retype", "nest"))
    if what == "drop" and values:
        del attribute.values[random.randrange(len(values))]
    elif what == "double" and values:
        attribute.values.append(random.choice(values))
    elif what == "retype" and values:
        return change_attribute(random, random.choice(values))
    elif what == "nest":
        inner = AttributeProto()
        inner.CopyFrom(attribute)
        for _ in range(random.choice((1, 2, 80))):
            outer = AttributeProto(name=attribute.name, type=AttributeProto.TUPLE)
            outer.values.append(inner)
            inner = outer
        attribute.CopyFrom(inner)
    else:
        del attribute.values[:]
    return f"elements: {what}"


def change_attribute(random: Random, attribute: AttributeProto) -> str:
    """What an attribute holds, or as what."""
    held = list(tensors(attribute))
    what = random.random()
    if held and what < 0.5:
        return change_tensor(random, random.choice(held))
    if what < 0.6:
        return _retype(random, attribute)
    if len(attribute.values) and what < 0.8:
        return change_elements(random, attribute)
    if what < 0.87:
        attribute.tensors.add(data_type=random.choice(ELEMENT_TYPES)).dims.extend((whole(random),))
        return "a tensor more"
    numbers = attribute.ints
    if len(numbers):
        at = random.randrange(len(numbers))
        numbers[at] = whole(random, numbers[at])
    attribute.i = whole(random, attribute.i)
    attribute.f = random.choice(REAL)
    attribute.d = random.choice(REAL)
    for reals in (attribute.floats, attribute.doubles):
        for at in range(len(reals)):
            reals[at] = random.choice(REAL)
    attribute.s = random.choice((b"", b"\xff\xfe", b"none", b"x" * 1_000))
    return f"numbers {attribute.i}, {attribute.f}"


def change_type(random: Random, model: ModelProto) -> str:
    """The type of a node's result: other sizes, another element type, a tuple, none."""
    n = node(random, model, constant=False)
    if n is None:
        return ""
    shape = next((a for a in n.attribute if a.name == "shape"), None)
    if shape is None:
        return ""
    what = random.random()
    if what < 0.12:
        n.attribute.remove(shape)
        return f"no type of {name_of(n)}"
    if what < 0.2:
        n.attribute.add().CopyFrom(shape)
        return f"type of {name_of(n)} twice: {change_attribute(random, n.attribute[-1])}"
    return f"type of {name_of(n)}: {change_attribute(random, shape)}"


def change_constant(random: Random, model: ModelProto) -> str:
    """The value of a constant."""
    n = node(random, model, constant=True)
    if n is None or not len(n.attribute):
        return ""
    if random.random() < 0.05:
        del n.attribute[:]
        return f"no value of {name_of(n)}"
    return f"value of {name_of(n)}: {change_attribute(random, n.attribute[0])}"


def change_number(random: Random, model: ModelProto) -> str:
    """A number of a constant, of the same kind: a size, an axis, a factor."""
    n = node(random, model, constant=True)
    if n is None or not len(n.attribute):
        return ""
    a = n.attribute[0]
    element = some(random, a.values) or a
    if len(element.ints):
        element.ints[0] = whole(random, element.ints[0])
    elif len(element.floats):
        element.floats[0] = random.choice(REAL)
    elif element.HasField("i"):
        element.i = whole(random, element.i)
    elif element.HasField("f"):
        element.f = random.choice(REAL)
    elif len(element.tensors):
        return f"value of {name_of(n)}: {change_tensor(random, element.tensors[0])}"
    else:
        return ""
    return f"number of {name_of(n)}: {element.ints[:1] or element.floats[:1] or (element.i, element.f)}"


def size_everywhere(random: Random, model: ModelProto) -> str:
    """A size is another one wherever it occurs: the graph still agrees with itself, as far as this goes."""
    sizes = sorted({dim for tensor in types(model) for dim in tensor.dims})
    old = some(random, sizes)
    if old is None:
        return ""
    new = whole(random, old) if random.random() < 0.7 else -1
    for tensor in types(model):
        for at, dim in enumerate(tensor.dims):
            if dim == old:
                tensor.dims[at] = new
    for g in graphs(model):
        for n in g.node:
            for a in n.attribute if n.op_type == "Constant" else ():
                for element in (a, *a.values):
                    for at, number in enumerate(element.ints):
                        if number == old > 1:
                            element.ints[at] = new
    return f"size {old} is {new} everywhere"


def element_type_everywhere(random: Random, model: ModelProto) -> str:
    """An element type is another one wherever it occurs."""
    found = sorted({tensor.data_type for tensor in types(model)})
    old = some(random, found)
    if old is None:
        return ""
    new = random.choice(ELEMENT_TYPES)
    for tensor in types(model):
        if tensor.data_type == old:
            tensor.data_type = new
    return f"element type {old} is {new} everywhere"
