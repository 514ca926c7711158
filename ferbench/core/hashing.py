"""Hashes of texts, bytes and plain values, the same on every machine."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def sha256(content: str | bytes) -> str:
    """Hexadecimal sha256; of a text, of its UTF-8 (file names that are no text included)."""
    data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return hashlib.sha256(data).hexdigest()


def canonical(value: Any) -> str:
    """A plain value as JSON of one spelling: keys sorted, no blanks.

    Raises:
        TypeError: it holds an object that is no plain type.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
