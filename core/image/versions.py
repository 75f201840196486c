"""Version texts of the web UIs, ordered as Python packages are (PEP 440)."""

from __future__ import annotations

import math
import re

VersionKey = tuple[int, tuple[int, ...], tuple[float, float], float, float]

_VERSION = re.compile(
    r"\s*v?(?:(\d+)!)?(?P<release>\d+(?:\.\d+)*)"
    r"(?P<pre>[-_.]?(?P<stage>alpha|beta|preview|pre|a|b|c|rc)[-_.]?(?P<pre_n>\d*))?"
    r"(?P<post>-(?P<post_n>\d+)|[-_.]?(?:post|rev|r)[-_.]?(?P<post_word_n>\d*))?"
    r"(?P<dev>[-_.]?dev[-_.]?(?P<dev_n>\d*))?"
    r"(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?\s*",
    re.ASCII | re.IGNORECASE,
)
_DESCRIBED = re.compile(r"([^-]+-[^-]+)-.*")
_LONGEST = 200
_STAGES = {"alpha": 0, "a": 0, "beta": 1, "b": 1}


def version_key(text: str) -> VersionKey | None:
    """Return what orders version ``text`` among others; None when it is no version.

    Of what ``git describe`` writes (``v1.7.0-225-gabcdef12``) the commit is left out, and the number before
    it counts as a post-release, as A1111 reads it.  A local part (``+cpu``) does not count.
    """
    described = _DESCRIBED.match(text)
    version = described[1] if described else text
    match = _VERSION.fullmatch(version) if len(version) < _LONGEST else None
    if match is None:
        return None
    release = [int(part) for part in match["release"].split(".")]
    while release and release[-1] == 0:
        release.pop()
    pre = (math.inf, 0.0)
    if match["pre"]:
        pre = (_STAGES.get(match["stage"].lower(), 2), float(match["pre_n"] or 0))
    elif match["dev"] and not match["post"]:
        pre = (-math.inf, 0.0)
    post = float(match["post_n"] or match["post_word_n"] or 0) if match["post"] else -math.inf
    dev = float(match["dev_n"] or 0) if match["dev"] else math.inf
    return int(match[1] or 0), tuple(release), pre, post, dev
