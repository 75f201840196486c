"""What is said of one recorded picture: in a table for programs, and in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.profile_choice import borrowed
from ...core.profiles import PROFILES
from ...core.same_picture import Difference
from .blaming import Blame
from .drawing import Attempt


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """The outcome for one file.  ``error``: why it could not be drawn; ``notes``: what could not be matched."""

    file: Path
    profile: str | None = None
    attempt: Attempt | None = None
    blame: Blame | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    where: str = "text"

    @property
    def same(self) -> bool:
        """Tell whether the picture came out as recorded with the settings of its file."""
        return self.attempt is not None and self.attempt.same

    @property
    def found(self) -> Difference | None:
        """How far it is; None when it was not drawn, or in another size."""
        return self.attempt.found if self.attempt else None

    @property
    def borrowed(self) -> tuple[str, ...]:
        """What was drawn by Concord's own sampler or sigmas, not the profile's, in words."""
        return borrowed(self.attempt.record) if self.attempt else ()

    @property
    def blamed(self) -> str | None:
        """The setting to blame, in words."""
        change = self.blame.change if self.blame else None
        return change.words(self.where) if change else None

    def as_json(self) -> dict[str, Any]:
        """Return one object: first the keys that every line has, then what else there is to tell."""
        found, attempt = self.found, self.attempt
        line: dict[str, Any] = {
            "file": str(self.file),
            "same": self.same,
            "max": found.most if found else None,
            "equal": round(found.equal, 6) if found else None,
            "profile": self.profile,
            "blame": self.blamed,
            "mean": round(found.mean, 4) if found else None,
            "notes": list(self.notes),
        }
        if self.blame:
            line["tries"] = self.blame.tried
        if self.borrowed:
            line["own"] = list(self.borrowed)
        if self.profile is not None:
            line["verified"] = PROFILES[self.profile].verified
        if attempt and attempt.place is not None:
            line["batch_position"] = attempt.place
        if attempt and attempt.source.name:
            line["source"] = attempt.source.name
        if attempt and found is None:
            line["size"] = list(attempt.size)
        if self.error is not None:
            line["error"] = self.error
        return line

    def lines(self) -> Iterator[str]:
        """Yield what is printed: the outcome, the setting to blame, and what could not be matched."""
        yield f"{self.file}: {self._outcome()}"
        tried = self.blame.tried if self.blame else 0
        if self.blamed:
            yield f"  {self.blamed} (tries: {tried})"
        elif self.attempt is not None and not self.same:
            yield f"  no other single setting gives this picture (tries: {tried})"
        for line in self.borrowed:
            yield f"  {line}"
        for note in self.notes:
            yield f"  not matched: {note}"

    def _outcome(self) -> str:
        if self.error is not None:
            return f"not drawn: {self.error}"
        host = PROFILES[self.profile or "concord"]
        under = f"profile {host.name}{'' if host.verified else ', unverified'}"
        attempt, found = self.attempt, self.found
        if attempt is None or found is None:
            width, height = attempt.size if attempt else (0, 0)
            return f"differs: {width}x{height} was drawn ({under})"
        place = f", picture {attempt.place + 1} of its batch" if attempt.place is not None else ""
        far = f"{found.equal:.2%} of values equal, at most {found.most} of 255 levels apart"
        return f"{'same' if self.same else 'differs'}: {far} ({under}{place})"
