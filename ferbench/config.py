"""From the name of a config to a checked mmengine `Config`.

What a config may say stands in one place (`ferbench.core.keys`); anything else is a mistake and an error.
Parameters of parts are checked when the part is built (`build`), against the part's own signature.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ferbench.core.config_algorithm import imports_of, resolve_algorithm
from ferbench.core.config_files import check_keys, config_root, find_config, read_checked, read_file
from ferbench.core.config_options import parse_options, set_options
from ferbench.core.keys import TOP_LEVEL
from ferbench.core.parts import build
from ferbench.core.plugins import absolute
from ferbench.core.plugins import load as load_plugin
from ferbench.core.text import require_names
from ferbench.errors import UserError

if TYPE_CHECKING:  # mmengine takes a second to import
    from mmengine import Config

DATA_VARIABLE = "FERBENCH_DATA"

__all__ = ["TOP_LEVEL", "build", "config_root", "find_config", "load_config", "parse_options", "read_file"]


def load_config(
    path_or_name: str | Path,
    options: Mapping[str, Any] | None = None,
    plugins: Sequence[str] = (),
    data: str | Path | None = None,
    algorithm: str | None = None,
) -> Config:
    """Read, complete and check a config; import the plug-ins it needs.

    Configs write their data root as ``'{{$FERBENCH_DATA:data}}/fer2013'``. A config outside this project
    names one of its configs as base by ``'{{$FERBENCH_CONFIGS:}}/dtm/r18_fer2013.py'``.

    The algorithm of a run is ``model.algorithm``. A file may name it instead, ``algorithm = "softmatch"``: then
    ``model.algorithm`` changes parameters of the named one.

    Args:
        path_or_name: a file, or one of this project's by its path inside ``configs/`` (``dtm/x.py``), or a setting by its
            name (``r18_fer2013``).
        options: dotted key -> value, as from ``--cfg-options``; see `parse_options`. A dict with a ``type`` replaces the
            section, another one changes some of its keys.
        plugins: what followed ``--plugin``; see `ferbench.core.plugins.load`.
        data: folder that holds the data sets; sets the environment variable FERBENCH_DATA of this process.
        algorithm: what followed ``--algorithm``: the name of a shipped algorithm, or a file that has one; it takes the place
            of the config's own.

    Raises:
        UserError: no such config or algorithm, a mistake in it, an unknown key, or a plug-in that cannot be imported.
    """
    path = find_config(path_or_name)
    if data is not None:
        os.environ[DATA_VARIABLE] = str(_data_folder(data))
    cfg = read_checked(path)
    resolve_algorithm(cfg, path, given=algorithm)
    if options:
        set_options(cfg, options)
        check_keys(cfg, where="--cfg-options")
    if cfg.get("classes"):
        require_names(cfg.classes, "classes")
    imports = cfg.get("custom_imports") or {}
    given = imports_of(cfg)
    for spec in plugins:
        load_plugin(spec)
    for spec in given:
        load_plugin(spec, required=not imports.get("allow_failed_imports", False))
    if plugins:  # so that the config that a run saves is whole
        specs = dict.fromkeys((*given, *map(absolute, plugins)))
        cfg.custom_imports = {**imports, "imports": list(specs)}
    return cfg


def _data_folder(data: str | Path) -> Path:
    folder = Path(data).expanduser().resolve()
    if not folder.is_dir():
        raise UserError(
            "the data folder does not exist",
            where=folder,
            fix="correct --data, or draw synthetic faces: python tools/make_synthetic.py OUT",
        )
    if set(str(folder)) & set("'\"\\"):
        raise UserError(
            "the data folder's path has a quote or a backslash", where=folder, fix="rename or link the folder"
        )
    return folder
