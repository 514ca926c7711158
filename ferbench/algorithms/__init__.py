"""One small file per algorithm, over one shared step."""

from ferbench.algorithms.adacm import AdaCM
from ferbench.algorithms.adamatch import AdaMatch
from ferbench.algorithms.adsh import Adsh
from ferbench.algorithms.auxiliary_balanced import ABC
from ferbench.algorithms.base import Algorithm
from ferbench.algorithms.ccssl import CCSSL
from ferbench.algorithms.comatch import CoMatch
from ferbench.algorithms.cossl import CoSSL
from ferbench.algorithms.crest import CReST, CReSTPlus
from ferbench.algorithms.crmatch import CRMatch
from ferbench.algorithms.darp import DARP
from ferbench.algorithms.dash import Dash
from ferbench.algorithms.daso import DASO
from ferbench.algorithms.debiasedpl import DebiasedPL
from ferbench.algorithms.defixmatch import DeFixMatch
from ferbench.algorithms.dtasnl import DTASNL
from ferbench.algorithms.dtm import DTM
from ferbench.algorithms.eacm import EACM
from ferbench.algorithms.fixmatch import FixMatch
from ferbench.algorithms.flexmatch import FlexMatch
from ferbench.algorithms.freematch import FreeMatch
from ferbench.algorithms.held_out_dtm import HeldOutDTM
from ferbench.algorithms.ict import ICT
from ferbench.algorithms.label_correction import LogitAdjustment, Reweighting
from ferbench.algorithms.label_shift import LabelShift
from ferbench.algorithms.matching import Matching
from ferbench.algorithms.mixing import Mixing
from ferbench.algorithms.mixmatch import MixMatch, ReMixMatch
from ferbench.algorithms.multimatch import MultiMatch
from ferbench.algorithms.mutexmatch import MutexMatch
from ferbench.algorithms.noisystudent import NoisyStudent
from ferbench.algorithms.otx import OTX
from ferbench.algorithms.pimodel import MeanTeacher, PiModel
from ferbench.algorithms.pseudolabel import PseudoLabel
from ferbench.algorithms.rebalancing import Rebalancing
from ferbench.algorithms.refixmatch import ReFixMatch
from ferbench.algorithms.saw import SAW
from ferbench.algorithms.sequencematch import SequenceMatch
from ferbench.algorithms.simmatch import SimMatch
from ferbench.algorithms.softmatch import SoftMatch
from ferbench.algorithms.ssmfar import SSMFAR
from ferbench.algorithms.supervised import Supervised, SupervisedOracle
from ferbench.algorithms.tras import TRAS
from ferbench.algorithms.uda import UDA
from ferbench.algorithms.vat import VAT
from ferbench.contracts import Batch, MatchingStep, Network, PseudoLabels, StepResult, Views

__all__ = [
    "ABC",
    "CCSSL",
    "DARP",
    "DASO",
    "DTASNL",
    "DTM",
    "EACM",
    "ICT",
    "OTX",
    "SAW",
    "SSMFAR",
    "TRAS",
    "UDA",
    "VAT",
    "AdaCM",
    "AdaMatch",
    "Adsh",
    "Algorithm",
    "Batch",
    "CRMatch",
    "CReST",
    "CReSTPlus",
    "CoMatch",
    "CoSSL",
    "Dash",
    "DeFixMatch",
    "DebiasedPL",
    "FixMatch",
    "FlexMatch",
    "FreeMatch",
    "HeldOutDTM",
    "LabelShift",
    "LogitAdjustment",
    "Matching",
    "MatchingStep",
    "MeanTeacher",
    "MixMatch",
    "Mixing",
    "MultiMatch",
    "MutexMatch",
    "Network",
    "NoisyStudent",
    "PiModel",
    "PseudoLabel",
    "PseudoLabels",
    "ReFixMatch",
    "ReMixMatch",
    "Rebalancing",
    "Reweighting",
    "SequenceMatch",
    "SimMatch",
    "SoftMatch",
    "StepResult",
    "Supervised",
    "SupervisedOracle",
    "Views",
]
