"""Gets a file of weights: goes on where it was cut off, and takes its place only when it is whole and the right one."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ferbench.errors import UserError
from ferbench.models.known import KnownWeights
from ferbench.models.weight_files import verified

TIMEOUT = 60.0  # seconds without a byte
_BLOCK = 1 << 20


def get(known: KnownWeights) -> tuple[Path, str]:
    """The file of some weights and its sha256; it is downloaded if it is not there.

    Args:
        known: the weights.

    Raises:
        UserError: there is no address, the download fails (what has come is kept, and the next call goes on from there), or
            the file is not the one that is known.
    """
    path = known.path()
    if known.package is not None or path.is_file():
        return path, verified(known.present(), known.sha256)
    if known.url is None:
        raise UserError(
            f"the weights {known.name!r} cannot be downloaded by a program",
            where=known.page,
            expected=f"that you accept their terms: {known.licence}",
            fix=known.how_to_get(),
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        _download(known.url, part)
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"the download of {known.name!r} failed: {reason}",
            where=known.url,
            expected="a connection to this address",
            fix=f"try again, and it goes on where it stopped; without a network {known.how_to_get()}",
        ) from error
    try:
        found = verified(part, known.sha256)
    except UserError:
        part.unlink()
        raise
    os.replace(part, path)
    return path, found


def _download(url: str, part: Path) -> None:
    """Append to ``part`` what is missing of it, or write it anew where the server does not go on in the middle."""
    begun = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            if error.code == 416 and _total(error) == begun:  # nothing is missing
                return
        if error.code != 416:
            raise
        part.unlink()  # of another file
        return _download(url, part)
    with response, open(part, "ab" if response.status == 206 else "wb") as file:
        length = response.headers.get("Content-Length")
        came = sum(_copied(response, file))
    if length is not None and came < int(length):
        raise OSError(f"the connection ended after {came:,} of {int(length):,} bytes")


def _copied(source: Any, target: IO[bytes]) -> Iterator[int]:
    while block := source.read(_BLOCK):
        yield target.write(block)


def _total(response: Any) -> int | None:
    found = re.fullmatch(r"bytes \*/(\d+)", response.headers.get("Content-Range") or "")
    return int(found[1]) if found else None
