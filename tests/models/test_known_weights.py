"""Weights by name: facts, downloads from a server of this machine, and the command."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch

from ferbench.cli import main
from ferbench.errors import UserError
from ferbench.models import TimmBackbone, known
from ferbench.models.download import get
from ferbench.models.known import KNOWN
from ferbench.registry import MODELS

CONTENT = bytes(range(256)) * 40


class Handler(BaseHTTPRequestHandler):
    """Sends `CONTENT`, from the byte that is asked for; cuts the connection after ``server.cut`` bytes."""

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.path != "/w.pth":
            self.send_error(404)
            return
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if begin >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        rest = CONTENT[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: self.server.cut])

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.cut, server.ranges = [], None, True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def entry(server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> known.KnownWeights:
    """Weights that the server has, known by their hash."""
    monkeypatch.setenv("FERBENCH_WEIGHTS", str(tmp_path / "kept"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = replace(
        KNOWN["dinov2-vit-s14"], name="mine", file="mine.pth", sha256=hashlib.sha256(CONTENT).hexdigest(),
        url=f"http://127.0.0.1:{server.server_port}/w.pth",
    )  # fmt: skip
    monkeypatch.setattr(known, "KNOWN", {"mine": made})
    monkeypatch.setattr("ferbench.models.command.KNOWN", {"mine": made})
    return made


def test_it_is_downloaded_once(entry, server, tmp_path: Path) -> None:
    path, found = get(entry)
    assert path == tmp_path / "kept" / "mine.pth"
    assert path.read_bytes() == CONTENT
    assert found == entry.sha256
    assert get(entry) == (path, found)
    assert server.asked == [None]
    assert [p.name for p in path.parent.iterdir()] == ["mine.pth"]


def test_it_goes_on_where_it_was_cut_off(entry, server) -> None:
    server.cut = 3000
    with pytest.raises(UserError, match="3,000 of 10,240 bytes") as error:
        get(entry)
    assert f"save it as {entry.path()}" in error.value.fix
    assert not entry.path().exists()
    server.cut = None
    assert get(entry)[0].read_bytes() == CONTENT
    assert server.asked == [None, "bytes=3000-"]


def test_a_server_that_does_not_go_on_in_the_middle(entry, server) -> None:
    server.cut, server.ranges = 3000, False
    with pytest.raises(UserError, match="failed"):
        get(entry)
    server.cut = None
    assert get(entry)[0].read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_that_is_whole_or_too_long(entry, server, size: int) -> None:
    part = entry.path().with_name("mine.pth.part")
    part.parent.mkdir()
    part.write_bytes((CONTENT + b"other")[:size])
    assert get(entry)[0].read_bytes() == CONTENT
    assert len(server.asked) == 1 + (size > len(CONTENT))


def test_another_file_than_the_known_one_is_not_kept(entry) -> None:
    with pytest.raises(UserError, match="has sha256"):
        get(replace(entry, sha256="0" * 64))
    assert list(entry.path().parent.iterdir()) == []


def test_no_network_and_no_such_page_say_where_the_file_goes(entry, server) -> None:
    with pytest.raises(UserError, match="Not Found"):
        get(replace(entry, url=f"http://127.0.0.1:{server.server_port}/gone"))
    with pytest.raises(UserError, match="failed") as error:
        get(replace(entry, url="http://127.0.0.1:9/w.pth"))
    assert str(entry.path()) in error.value.fix


def test_what_only_a_person_can_download(entry) -> None:
    by_hand = replace(entry, url=None, page="https://example.org/terms")
    with pytest.raises(UserError, match="cannot be downloaded by a program") as error:
        get(by_hand)
    assert error.value.fix == f"get it from https://example.org/terms by hand and save it as {entry.path()}"
    entry.path().parent.mkdir()
    entry.path().write_bytes(CONTENT)  # as the message says
    assert get(by_hand)[1] == entry.sha256


def test_a_backbone_says_how_to_get_what_is_not_here(entry) -> None:
    with pytest.raises(UserError, match="does not exist") as error:
        TimmBackbone("resnet18", weights="mine")
    assert error.value.fix.startswith("ferbench weights get mine, or get it from http")


def test_the_command(entry, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "verify"]) == 0
    assert capsys.readouterr().out == "mine: not here\n"
    assert main(["weights", "verify", "mine"]) == 1
    assert main(["weights", "get", "mine"]) == 0
    assert entry.sha256 in capsys.readouterr().out
    assert main(["weights", "verify", "mine"]) == 0
    assert "mine: as known" in capsys.readouterr().out
    entry.path().write_bytes(b"damaged")
    assert main(["weights", "verify"]) == 1
    assert "has sha256" in capsys.readouterr().out
    assert main(["weights", "list"]) == 0
    assert "TimmBackbone vit_small_patch14_dinov2  518  yes" in capsys.readouterr().out
    assert main(["weights", "info", "mine"]) == 0
    assert "mean [123.675, 116.28, 103.53]" in capsys.readouterr().out
    for words, says in ((["info", "nine"], "did you mean 'mine'?"), (["get"], "name some of: mine")):
        assert main(["weights", *words]) == 2
        assert says in capsys.readouterr().err


@pytest.mark.parametrize("name", KNOWN)
def test_facts_are_those_of_the_network(name: str) -> None:
    own = KNOWN[name]
    assert own.backbone["type"] in MODELS.names()
    assert own.sha256 is None or len(own.sha256) == 64
    assert own.licence
    assert own.page.startswith("https://")
    if own.backbone["type"] != "TimmBackbone" or "huggingface" not in (own.url or ""):
        return
    network = own.url.split("/")[4]  # timm says of its own weights what they expect
    facts = timm.models.get_pretrained_cfg(network)
    assert network.partition(".")[0] == own.backbone["name"]
    assert facts.hf_hub_id == f"timm/{network}"
    assert facts.input_size[1] == own.size
    assert np.allclose(np.array(facts.mean) * 255, own.mean)
    assert np.allclose(np.array(facts.std) * 255, own.std)
    assert facts.license.split("-")[0] in own.licence.lower()


def test_tensors_of_other_names_in_the_networks_order(entry, tmp_path: Path, monkeypatch) -> None:
    """EfficientNet-Lite0's package has timm's tensors under the names of another implementation, classifier included."""
    network = timm.create_model("tf_efficientnet_lite0", num_classes=10)
    package = tmp_path / "some_package"
    package.mkdir()
    state = {f"_own.{i}": t for i, t in enumerate(network.state_dict().values())}
    names = list(state)
    state |= {"_fc.weight": state.pop(names[-2]), "_fc.bias": state.pop(names[-1])}
    torch.save(state, package / "w.pth")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda _: SimpleNamespace(submodule_search_locations=[str(package)])
    )
    made = replace(
        KNOWN["efficientnet-lite0-imagenet"],
        file="w.pth",
        sha256=hashlib.sha256((package / "w.pth").read_bytes()).hexdigest(),
    )
    monkeypatch.setattr(known, "KNOWN", {made.name: made})
    backbone = TimmBackbone("tf_efficientnet_lite0", weights=made.name)
    own = network.state_dict()
    assert all(torch.equal(t, own[n]) for n, t in backbone.network.state_dict().items())
    assert backbone.loaded.preprocess == {"size": 224, "mean": [127.5] * 3, "std": [127.5] * 3}
    with pytest.raises(UserError, match="not those of this"):
        TimmBackbone("resnet18", weights=made.name)
