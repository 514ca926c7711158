"""What setup.cfg cannot say: the folder ``configs/`` is installed as data of ``ferbench.configs``; templates are data."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["ferbench", "ferbench.*"]), "ferbench.configs"],
    package_dir={"ferbench.configs": "configs"},
    package_data={
        "ferbench": ["py.typed", "benchmark/report/templates/*", "scaffold/templates/**/*.template"],
        "ferbench.configs": ["**/*.py"],
    },
)
