"""The commands of the page about face-recognition weights do what it says; with the smallest network."""

from __future__ import annotations

import ast
import re
import shlex

import torch

from ferbench.config import find_config, load_config, parse_options
from ferbench.core.parts import build
from ferbench.models import IResNet
from ferbench.registry import MODELS

FACES = {"size": 112, "mean": [127.5] * 3, "std": [127.5] * 3}


def test_the_command_replaces_network_and_preprocessing(repo, tmp_path):
    """Nothing is left of the config's own backbone, whose parameters an IResNet does not take."""
    page = (repo / "docs" / "howto" / "weights.md").read_text(encoding="utf-8")
    words = shlex.split(re.search(r"```bash\n([^`]*IResNet[^`]*)```", page)[1].replace("\\\n", " "))
    options = parse_options(words[words.index("--cfg-options") + 1 :])
    file = tmp_path / "face.pth"
    torch.save(IResNet(18).state_dict(), file)
    options["model.backbone"] |= {"depth": 18, "weights": str(file)}
    cfg = load_config(find_config(words[words.index("tools/train.py") + 1]), options)
    assert dict(cfg.model.backbone) == {"type": "IResNet", "depth": 18, "weights": str(file)}
    assert dict(cfg.model.preprocess) == FACES
    network = build(MODELS, cfg.model.backbone, "model.backbone")
    assert network.loaded.loaded == len(network.state_dict())


def test_the_options_of_a_grid_say_the_same(repo):
    page = (repo / "docs" / "howto" / "weights.md").read_text(encoding="utf-8")
    block = re.search(r"```python\noptions = (\{.*?\n\})", page, flags=re.S)[1]
    calls = [node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call)]
    backbone, preprocess = (eval(ast.unparse(call)) for call in calls)
    assert backbone["type"] == "IResNet"
    assert preprocess == FACES


def test_the_setting_from_a_face_network(repo):
    """The page's first command: its weights come from a package, and its preprocessing from the weights."""
    page = (repo / "docs" / "howto" / "weights.md").read_text(encoding="utf-8")
    words = re.search(r"^python tools/train.py (\S+) --algorithm (\S+)", page, flags=re.M)
    cfg = load_config(find_config(words[1]), algorithm=words[2])
    assert dict(cfg.model.backbone) == {"type": "DlibResNet", "weights": "dlib-face-v1"}
    assert dict(cfg.model.preprocess) == {"size": 112}
    assert cfg.views.size == 112
    assert cfg.model.algorithm.type == "DTM"
