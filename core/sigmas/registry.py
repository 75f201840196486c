"""The table behind ``SAMPLERS`` and ``SCHEDULERS``: names, aliases, and errors that help."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Protocol, TypeVar

from ..errors import BadType, BadValue, unknown


class Entry(Protocol):
    """What a table can hold: something with a name and perhaps other names."""

    @property
    def name(self) -> str:
        """Return the name under which it is listed."""
        ...

    @property
    def aliases(self) -> tuple[str, ...]:
        """Return the other names under which it is found."""
        ...


E = TypeVar("E", bound=Entry)


class Registry(Mapping[str, E]):
    """A read-only mapping from name to entry; an alias finds its entry, and only names are listed."""

    def __init__(self, kind: str) -> None:
        """Make an empty table of things called ``kind`` ("sampler") in messages."""
        self._kind = kind
        self._entries: dict[str, E] = {}
        self._aliases: dict[str, str] = {}

    def add(self, entry: E) -> None:
        """Add ``entry``; the same name again replaces it, as when a host reloads.

        Raises ``BadValue`` when a name or alias belongs to another entry.
        """
        for name in (entry.name, *entry.aliases):
            owner = self._aliases.get(name, name if name in self._entries else entry.name)
            if owner != entry.name:
                raise BadValue(f"{self._kind} {entry.name!r} wants the name {name!r}, which {owner!r} has")
        self._entries[entry.name] = entry
        self._aliases.update(dict.fromkeys(entry.aliases, entry.name))

    def __getitem__(self, name: str) -> E:
        """Return the entry called ``name``; raises ``BadValue`` that offers the nearest names."""
        found = self._entries.get(self._aliases.get(name, name))
        if found is None:
            raise unknown(self._kind, name, self._entries)
        return found

    def __contains__(self, name: object) -> bool:
        """Tell whether ``name`` is a name or an alias."""
        return name in self._entries or name in self._aliases

    def get(self, key: str, default: Any = None) -> Any:
        """Return the entry called ``key``, else ``default``."""
        return self._entries.get(self._aliases.get(key, key), default)

    def __iter__(self) -> Iterator[str]:
        """Run over the names, without aliases, in the order of registration."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)


def make_options(owner: str, record: type[Any] | None, given: Mapping[str, Any]) -> Any:
    """Return the option record of ``owner`` ("sampler 'euler'") filled with ``given``; None when it has none.

    Raises ``BadValue`` for an option that the record does not have, or of a kind that its default is not.
    """
    known = [field.name for field in fields(record)] if record is not None and is_dataclass(record) else []
    for name, value in given.items():
        if name not in known:
            raise unknown(f"option of {owner}", name, known or ["none"])
        _check_kind(owner, name, value, getattr(record, name, None))
    return record(**given) if record is not None else None


def _check_kind(owner: str, name: str, value: object, default: object) -> None:
    """Raise ``BadType`` when ``value`` is text where ``default`` is a number, or the other way round."""
    number = isinstance(default, (int, float)) and not isinstance(default, bool)
    wrong_number = number and (isinstance(value, bool) or not isinstance(value, (int, float)))
    wrong_text = isinstance(default, str) and not isinstance(value, str)
    if wrong_number or wrong_text:
        raise BadType(f"option {name} of {owner} is {value!r}; pass {'a number' if number else 'text'}")
