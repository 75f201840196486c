"""Read what a pickle describes without doing what it says.

`pickletools.genops` only names the opcodes of a pickle; the machine here follows them with inert values:
a name stays a `Name`, a call becomes a `Made`, a state is put beside it.  Nothing is imported, looked up,
called or set, so there is nothing a pickle could run.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from ...errors import BadFile

LIMIT_BYTES = 32 << 20
LIMIT_OPCODES = 3_000_000
ORDERED_DICT = ("collections", "OrderedDict")


@dataclass(frozen=True)
class Name:
    """A global that the pickle names; it is never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        """Return the dotted name."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Stored:
    """A persistent id: what a checkpoint's pickle says of a storage that lies beside it."""

    key: object


@dataclass(eq=False)
class Made:
    """An object that the pickle would have made by calling ``name`` with ``args``.

    ``state`` is what it would have been given for its attributes, ``items`` what would have been added to it.
    """

    name: Name
    args: tuple[Any, ...]
    state: Any = None
    items: list[Any] = field(default_factory=list[Any])

    def attributes(self) -> dict[str, Any]:
        """Return the attributes that the state holds."""
        state: Any = self.state
        if isinstance(state, tuple) and len(cast("tuple[Any, ...]", state)) == 2:  # (__dict__, slots)
            state = cast("tuple[Any, ...]", state)[0]
        return cast("dict[str, Any]", state) if isinstance(state, dict) else {}


def read_pickle(data: bytes, permit: Callable[[Name], bool]) -> Any:
    """Return the value that the pickle ``data`` describes, made of plain values, `Name`, `Made` and `Stored`.

    ``permit`` says which names the pickle may mention.  Raises `BadFile` for any other name, telling it, and
    for data that is no whole pickle, or one larger than a checkpoint's ever is.
    """
    if len(data) > LIMIT_BYTES:
        raise BadFile(f"its pickle has {len(data)} bytes, and a detector's has less than {LIMIT_BYTES}")
    machine = _Machine(permit)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > LIMIT_OPCODES:
                raise BadFile(f"its pickle has more than {LIMIT_OPCODES} operations")
            if opcode.name == "STOP":
                break
            machine.do(opcode.name, argument)
        return machine.pop()
    except BadFile:
        raise
    except (ValueError, LookupError, TypeError, OverflowError, AttributeError, EOFError) as error:
        raise BadFile(f"its pickle is damaged ({' '.join(str(error).split())[:100]})") from error


_MARK = object()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE"
    " BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_NOTHING = frozenset({"PROTO", "FRAME"})


class _Machine:
    """The stack machine of pickle, on inert values.  A wrong pickle raises one of the usual errors."""

    def __init__(self, permit: Callable[[Name], bool]) -> None:
        self.permit = permit
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def do(self, opcode: str, argument: Any) -> None:
        """Follow one opcode."""
        if opcode in _LITERALS:
            self.stack.append(argument)
        elif opcode in _CONSTANTS:
            self.stack.append(_CONSTANTS[opcode])
        elif opcode not in _NOTHING:
            act = getattr(self, "op_" + opcode.lower(), None)
            if act is None:
                raise BadFile(f"its pickle has the operation {opcode}, which no detector's needs")
            act(argument)

    # The stack

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a mark where a value belongs")
        return value

    def top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise ValueError("a mark where a value belongs")
        return self.stack[-1]

    def since_mark(self) -> list[Any]:
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise ValueError("no mark")
        values = self.stack[start + 1 :]
        del self.stack[start:]
        return values

    def op_mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def op_pop(self, _: Any) -> None:
        self.stack.pop()

    def op_pop_mark(self, _: Any) -> None:
        self.since_mark()

    def op_dup(self, _: Any) -> None:
        self.stack.append(self.top())

    # The memo

    def op_put(self, key: int) -> None:
        self.memo[key] = self.top()

    def op_memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.top()

    def op_get(self, key: int) -> None:
        self.stack.append(self.memo[key])

    op_binput = op_long_binput = op_put
    op_binget = op_long_binget = op_get

    # Containers

    def op_empty_list(self, _: Any) -> None:
        self.stack.append([])

    def op_empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def op_empty_tuple(self, _: Any) -> None:
        self.stack.append(())

    def op_empty_set(self, _: Any) -> None:
        self.stack.append(Made(Name("builtins", "set"), ()))

    def op_list(self, _: Any) -> None:
        self.stack.append(self.since_mark())

    def op_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.since_mark()))

    def op_frozenset(self, _: Any) -> None:
        self.stack.append(Made(Name("builtins", "frozenset"), (self.since_mark(),)))

    def op_dict(self, _: Any) -> None:
        values = self.since_mark()
        self.stack.append({})
        self.set_items(values)

    def op_tuple1(self, _: Any) -> None:
        self.stack.append((self.pop(),))

    def op_tuple2(self, _: Any) -> None:
        last = self.pop()
        self.stack.append((self.pop(), last))

    def op_tuple3(self, _: Any) -> None:
        last, middle = self.pop(), self.pop()
        self.stack.append((self.pop(), middle, last))

    def op_append(self, _: Any) -> None:
        self.add_items([self.pop()])

    def op_appends(self, _: Any) -> None:
        self.add_items(self.since_mark())

    op_additems = op_appends

    def op_setitem(self, _: Any) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def op_setitems(self, _: Any) -> None:
        self.set_items(self.since_mark())

    def add_items(self, values: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, list | Made):
            raise ValueError(f"items for a {type(target).__name__}")
        (target.items if isinstance(target, Made) else cast("list[Any]", target)).extend(values)

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        if len(values) % 2 or not isinstance(target, dict | Made):
            raise ValueError(f"keys and values for a {type(target).__name__}")
        pairs = list(zip(values[::2], values[1::2], strict=True))
        if isinstance(target, Made):
            target.items.extend(pairs)
        else:
            cast("dict[Any, Any]", target).update((_plain(key), value) for key, value in pairs)

    # Names, and what would have been made with them

    def name(self, module: Any, name: Any) -> Name:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        found = Name(module, name)
        if not self.permit(found):
            raise BadFile(f"it asks for {str(found)[:200]!r}, which no detector needs")
        return found

    def make(self, name: Any, args: Any) -> Any:
        if not isinstance(name, Name) or not isinstance(args, tuple):
            raise BadFile(f"its pickle calls a {type(name).__name__}, which no detector's does")
        if (name.module, name.name) == ORDERED_DICT:
            if args:
                raise ValueError("an OrderedDict that is filled as it is made")
            return {}
        if name.name == "getattr":
            _check_getattr(cast("tuple[Any, ...]", args))
        return Made(name, cast("tuple[Any, ...]", args))

    def op_global(self, both: str) -> None:
        module, _, name = both.partition(" ")
        self.stack.append(self.name(module, name))

    def op_stack_global(self, _: Any) -> None:
        name, module = self.pop(), self.pop()
        self.stack.append(self.name(module, name))

    def op_inst(self, both: str) -> None:
        args = tuple(self.since_mark())
        module, _, name = both.partition(" ")
        self.stack.append(self.make(self.name(module, name), args))

    def op_obj(self, _: Any) -> None:
        name, *args = self.since_mark()
        self.stack.append(self.make(name, tuple(args)))

    def op_reduce(self, _: Any) -> None:
        args, name = self.pop(), self.pop()
        self.stack.append(self.make(name, args))

    op_newobj = op_reduce

    def op_newobj_ex(self, _: Any) -> None:
        keywords, args, name = self.pop(), self.pop(), self.pop()
        if keywords != {}:
            raise ValueError("keywords for a new object")
        self.stack.append(self.make(name, args))

    def op_build(self, _: Any) -> None:
        state, target = self.pop(), self.top()
        if isinstance(target, Made):
            target.state = state
        elif not isinstance(target, dict):  # an OrderedDict's attributes are of no use here
            raise ValueError(f"a state for a {type(target).__name__}")

    def op_binpersid(self, _: Any) -> None:
        self.stack.append(Stored(self.pop()))


def _plain(key: Any) -> Any:
    if key is not None and not isinstance(key, str | int | float | bytes):
        raise ValueError(f"a {type(key).__name__} as a key")
    return key


def _check_getattr(args: tuple[Any, ...]) -> None:
    """Raise for all but what checkpoints of 8.0, and fused networks, mention: the method of a layer."""
    match args:
        case (Name() | Made(), "forward" | "forward_fuse" | "forward_split"):
            return
        case (owner, str(attribute)):
            what = owner if isinstance(owner, Name) else "something"
            raise BadFile(f"it asks for {attribute[:80]!r} of {what}, which no detector needs")
        case _:
            raise BadFile("it asks for an attribute that has no name, which no detector needs")
