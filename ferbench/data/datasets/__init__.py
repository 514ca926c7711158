"""Sources of faces, labeled or not; importing this package registers them all."""

from ferbench.data.datasets.affectnet import AffectNet
from ferbench.data.datasets.affwild2 import AffWild2Expr
from ferbench.data.datasets.base import ClassMap, Concat, EncodedDataset, FaceDataset, Subset
from ferbench.data.datasets.csv_list import CsvList
from ferbench.data.datasets.dfew import DFEW
from ferbench.data.datasets.expw import ExpW
from ferbench.data.datasets.fer2013 import FER2013
from ferbench.data.datasets.ferplus import FERPlus
from ferbench.data.datasets.ferv39k import FERV39k
from ferbench.data.datasets.folder import ImageFolder
from ferbench.data.datasets.lmdb_images import LmdbImages
from ferbench.data.datasets.mafw import MAFW
from ferbench.data.datasets.npz import NpzImages
from ferbench.data.datasets.packed import InsightFaceBin, ParquetImages
from ferbench.data.datasets.rafdb import RAFDB
from ferbench.data.datasets.recordio import RecordIO

__all__ = [
    "DFEW",
    "FER2013",
    "MAFW",
    "RAFDB",
    "AffWild2Expr",
    "AffectNet",
    "ClassMap",
    "Concat",
    "CsvList",
    "EncodedDataset",
    "ExpW",
    "FERPlus",
    "FERV39k",
    "FaceDataset",
    "ImageFolder",
    "InsightFaceBin",
    "LmdbImages",
    "NpzImages",
    "ParquetImages",
    "RecordIO",
    "Subset",
]
