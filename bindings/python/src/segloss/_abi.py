"""include/losses.h in ctypes: structs, enums and functions, in the header's order.

A test compiles the header and holds sizes, offsets, enum values and defaults against this module.
"""

import ctypes
import dataclasses
from collections.abc import Mapping
from ctypes import POINTER, Structure, c_char, c_double, c_int32, c_int64, c_uint8, c_uint16, c_uint32, c_void_p
from typing import Any

from . import _library

STATUS_ELEMENT_TYPE = 4
STATUS_OUT_OF_MEMORY = 13
STATUS_INSTRUCTION_SET = 14

DEVICE_CPU = 1
DENSE = 1
MAX_RANK = 6

NON_FINITE = {"propagate": 0, "refuse": 1, "skip_masked": 2}
MAIN_LOSS = {
    "DiceLoss": 0,
    "BCELoss": 1,
    "MaskL1Loss": 2,
    "DiceOHEM": 3,
}
BCE_PADDLE, BCE_TORCH, BCE_LOGITS = 0, 1, 2
DB_VARIANT = {"published": 0, "wenmuzhou": 1, "paper": 2}
ACTIVATION = {"sigmoid": 0, "softmax": 1, "none": 2}
AVERAGE = {"micro": 0, "macro": 1}
ABSENT = {"count": 0, "skip": 1, "zero": 2}
# "none" is no reduction of the library's: it is another function.
REDUCTION = {"mean": 0, "sum": 1}
FOCAL_VARIANT = {"published": 0, "paper": 1}
CTPN_VARIANT = {"published": 0, "paper": 1}
CONTOUR_VARIANT = {"published": 0, "aligned": 1}
STRUCTURE_VARIANT = {"published": 0, "paper": 1, "uacanet": 2}
STRUCTURE_LEVEL_PARTS = 3
STRUCTURE_LEVEL_STATISTICS = 4
DB_STATISTICS = {"published": 16, "paper": 24, "shrink": 11}
BOUNDARY_VARIANT = {"published": 0, "present_classes": 1}


class Error(Structure):
    _fields_ = [("status", c_int32), ("message", c_char * 508)]


class Tensor(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("type_code", c_uint8),
        ("type_bits", c_uint8),
        ("type_lanes", c_uint16),
        ("rank", c_int32),
        ("flags", c_uint32),
        ("reserved", c_uint32),
        ("shape", c_int64 * MAX_RANK),
        ("strides", c_int64 * MAX_RANK),
    ]


class _Sized(Structure):
    """A struct that starts with its own size."""

    def __init__(self, **values: Any) -> None:
        super().__init__(struct_size=ctypes.sizeof(type(self)), **values)


class Execution(_Sized):
    _fields_ = [("struct_size", c_uint32), ("threads", c_int32), ("non_finite", c_int32), ("reserved", c_int32)]


class MaskDiceOptions(_Sized):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("eps", c_double)]


class MaskDiceParts(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("loss", c_double),
        ("intersection", c_double),
        ("union_", c_double),
    ]


class MaskL1Options(_Sized):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("eps", c_double)]


class MaskL1Parts(_Sized):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("loss", c_double), ("count", c_double)]


class BalanceOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("main_loss", c_int32),
        ("balance_loss", c_int32),
        ("bce_form", c_int32),
        ("truncate_weights", c_int32),
        ("clean", c_int32),
        ("negative_ratio", c_double),
        ("eps", c_double),
        ("fallback_negative_num", c_int64),
    ]


class BalanceParts(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("loss", c_double),
        ("origin", c_double),
        ("positives", c_double),
        ("negatives", c_double),
    ]


class DBOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("variant", c_int32),
        ("balance_loss", c_int32),
        ("main_loss", c_int32),
        ("alpha", c_double),
        ("beta", c_double),
        ("negative_ratio", c_double),
        ("eps", c_double),
        ("step_k", c_double),
        ("fallback_negative_num", c_int64),
    ]


class DBParts(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("loss", c_double),
        ("loss_shrink_maps", c_double),
        ("loss_threshold_maps", c_double),
        ("loss_binary_maps", c_double),
        ("positives", c_double),
        ("negatives", c_double),
        ("threshold_count", c_double),
    ]


class L1BalanceCEOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("eps", c_double),
        ("l1_scale", c_double),
        ("bce_scale", c_double),
        ("negative_ratio", c_double),
    ]


class L1BalanceCEParts(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("loss", c_double),
        ("bce_loss", c_double),
        ("l1_loss", c_double),
        ("dice_loss", c_double),
        ("positives", c_double),
        ("negatives", c_double),
        ("threshold_count", c_double),
    ]


class DBStepOptions(_Sized):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("k", c_double)]


class Classes(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("activation", c_int32),
        ("average", c_int32),
        ("per_sample", c_int32),
        ("absent", c_int32),
        ("reduction", c_int32),
        ("has_ignore_index", c_int32),
        ("reserved", c_int32),
        ("ignore_index", c_int64),
        ("class_weight", POINTER(c_double)),
        ("class_weight_length", c_int64),
        ("classes", POINTER(c_int64)),
        ("classes_length", c_int64),
    ]


class OverlapParts(_Sized):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("loss", c_double), ("count", c_double)]


class MeanParts(_Sized):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("loss", c_double), ("count", c_double)]


class DiceOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("smooth", c_double),
        ("classes", POINTER(Classes)),
    ]


class DiceBCEOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("smooth", c_double),
        ("classes", POINTER(Classes)),
    ]


class DiceBCEParts(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("loss", c_double),
        ("bce_loss", c_double),
        ("dice_loss", c_double),
        ("count", c_double),
        ("elements", c_double),
    ]


class IoUOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("smooth", c_double),
        ("classes", POINTER(Classes)),
    ]


class TverskyOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("alpha", c_double),
        ("beta", c_double),
        ("smooth", c_double),
        ("classes", POINTER(Classes)),
    ]


class FocalTverskyOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("alpha", c_double),
        ("beta", c_double),
        ("gamma", c_double),
        ("smooth", c_double),
        ("classes", POINTER(Classes)),
    ]


class BCEOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("form", c_int32),
        ("pos_weight", POINTER(c_double)),
        ("pos_weight_length", c_int64),
        ("classes", POINTER(Classes)),
    ]


class FocalOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("variant", c_int32),
        ("from_logits", c_int32),
        ("reserved", c_uint32),
        ("alpha", c_double),
        ("gamma", c_double),
        ("classes", POINTER(Classes)),
    ]


class FocalParts(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("loss", c_double),
        ("bce_loss", c_double),
        ("count", c_double),
    ]


class SmoothL1Options(_Sized):
    _fields_ = [("struct_size", c_uint32), ("reduction", c_int32), ("beta", c_double)]


class CrossEntropyOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reduction", c_int32),
        ("has_ignore_index", c_int32),
        ("reserved", c_uint32),
        ("ignore_index", c_int64),
        ("label_smoothing", c_double),
        ("class_weight", POINTER(c_double)),
        ("class_weight_length", c_int64),
    ]


class CrossEntropyParts(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("loss", c_double),
        ("count", c_double),
        ("divisor", c_double),
    ]


class CTPNOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("variant", c_int32),
        ("sigma2", c_double),
        ("lambda1", c_double),
        ("lambda2", c_double),
    ]


class CTPNParts(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("loss", c_double),
        ("model_loss", c_double),
        ("rpn_cross_entropy", c_double),
        ("rpn_loss_box", c_double),
        ("rpn_loss_side", c_double),
        ("kept", c_double),
        ("positives", c_double),
        ("sides", c_double),
    ]


class CTPNAnchorTargetsOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("variant", c_int32),
        ("stride", c_int32),
        ("batch_size", c_int32),
        ("clobber_positives", c_int32),
        ("reserved", c_int32),
        ("width", c_double),
        ("negative_overlap", c_double),
        ("positive_overlap", c_double),
        ("fg_fraction", c_double),
        ("positive_weight", c_double),
        ("inside_dx", c_double),
        ("inside_dy", c_double),
        ("inside_dw", c_double),
        ("inside_dh", c_double),
        ("side_distance", c_double),
    ]


class MT19937(Structure):
    _fields_ = [("key", c_uint32 * 624), ("position", c_int32)]


class StructureOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("variant", c_int32),
        ("count_include_pad", c_int32),
        ("reserved", c_uint32),
        ("kernel_size", c_int64),
        ("gain", c_double),
        ("smooth", c_double),
    ]


class StructureParts(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("loss", c_double),
        ("bce_loss", c_double),
        ("iou_loss", c_double),
        ("count", c_double),
    ]


class ActiveContourOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("variant", c_int32),
        ("from_logits", c_int32),
        ("reserved", c_uint32),
        ("weight", c_double),
        ("region_weight", c_double),
        ("c_in", c_double),
        ("c_out", c_double),
    ]


class ActiveContourParts(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("reserved", c_uint32),
        ("loss", c_double),
        ("length", c_double),
        ("region", c_double),
        ("length_count", c_double),
        ("count", c_double),
    ]


class BoundaryOptions(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("variant", c_int32),
        ("theta0", c_int64),
        ("theta", c_int64),
        ("from_probs", c_int32),
        ("has_ignore_index", c_int32),
        ("ignore_index", c_int64),
    ]


class BoundaryParts(_Sized):
    _fields_ = [("struct_size", c_uint32), ("reserved", c_uint32), ("loss", c_double), ("count", c_double)]


class Program(Structure):
    _fields_ = [
        ("struct_size", c_uint32),
        ("non_finite", c_int32),
        ("loss", c_char * 32),
        ("items", c_int32),
        ("arrays", c_int32),
        ("predictions", c_int32),
        ("tensors", c_int32),
        ("pointers", c_int32),
        ("options_at", c_uint32),
    ]


class ProgramTensor(Structure):
    _fields_ = [("array", c_int32), ("channel", c_int32), ("channels_last", c_int32), ("reserved", c_int32)]


class ProgramPointer(Structure):
    _fields_ = [("at", c_uint32), ("target", c_uint32), ("bytes", c_uint32), ("count_at", c_uint32)]


class ProgramCall(_Sized):
    _fields_ = [
        ("struct_size", c_uint32),
        ("task", c_int32),
        ("program", c_void_p),
        ("size", c_int64),
        ("arrays", c_void_p),
        ("count", c_int32),
        ("reserved", c_int32),
        ("number", c_void_p),
        ("gradients", c_void_p),
        ("parts", c_void_p),
        ("parts_length", c_int64),
        ("length", c_int64),
        ("addresses", c_void_p),
        ("statistics", c_void_p),
    ]


PROGRAM_FORWARD, PROGRAM_VALUE_AND_GRADIENT, PROGRAM_VALUE, PROGRAM_GRADIENT = range(4)


def part(parts: Structure, name: str) -> float:
    """A part by Python's name, which C may not have for a word of its own."""
    return float(getattr(parts, name if hasattr(parts, name) else name + "_"))


def part_names(description: "Description") -> tuple[str, ...]:
    """The names of a loss's parts, the loss first."""
    fields = [field[0] for field in description.parts._fields_ if field[0] not in ("struct_size", "reserved")]
    return tuple(name.rstrip("_") for name in fields)


@dataclasses.dataclass(frozen=True)
class Description:
    """A loss as the C interface has it: every signature follows from this."""

    name: str
    predictions: tuple[str, ...]
    constants: tuple[str, ...]
    options: type[Structure]
    parts: type[Structure]
    # How many statistics there are: of the batch, or of each item.
    statistics: int
    # Whether there is a function for the values before their reduction.
    has_items: bool = False
    # Whether the last of the predictions may be several.
    is_list: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.predictions + self.constants


MASK_DICE = Description("mask_dice", ("pred",), ("gt", "mask", "weights"), MaskDiceOptions, MaskDiceParts, 3)
MASK_L1 = Description("mask_l1", ("pred",), ("gt", "mask"), MaskL1Options, MaskL1Parts, 2)
BALANCE = Description("balance", ("pred",), ("gt", "mask"), BalanceOptions, BalanceParts, 11)
DB = Description(
    "db",
    ("prob", "thresh", "binary"),
    ("threshold_map", "threshold_mask", "shrink_map", "shrink_mask"),
    DBOptions,
    DBParts,
    16,
)
L1_BALANCE_CE = Description(
    "l1_balance_ce",
    ("binary", "thresh", "thresh_binary"),
    ("gt", "mask", "thresh_map", "thresh_mask"),
    L1BalanceCEOptions,
    L1BalanceCEParts,
    16,
)
_OVERLAP = (("input",), ("target", "mask"))
_POINTWISE = (("input",), ("target", "weight", "mask"))
DICE = Description("dice", *_OVERLAP, DiceOptions, OverlapParts, 3, has_items=True)
DICE_BCE = Description("dice_bce", *_OVERLAP, DiceBCEOptions, DiceBCEParts, 5, has_items=True)
IOU = Description("iou", *_OVERLAP, IoUOptions, OverlapParts, 3, has_items=True)
TVERSKY = Description("tversky", *_OVERLAP, TverskyOptions, OverlapParts, 3, has_items=True)
FOCAL_TVERSKY = Description("focal_tversky", *_OVERLAP, FocalTverskyOptions, OverlapParts, 3, has_items=True)
BCE = Description("bce", *_POINTWISE, BCEOptions, MeanParts, 2, has_items=True)
FOCAL = Description("focal", *_POINTWISE, FocalOptions, FocalParts, 2, has_items=True)
SMOOTH_L1 = Description("smooth_l1", *_POINTWISE, SmoothL1Options, MeanParts, 2, has_items=True)
CROSS_ENTROPY = Description("cross_entropy", *_POINTWISE, CrossEntropyOptions, CrossEntropyParts, 3, has_items=True)
CTPN = Description(
    "ctpn",
    ("cls", "box", "side"),
    (
        "rpn_labels",
        "rpn_bbox_targets",
        "rpn_bbox_inside_weights",
        "rpn_bbox_outside_weights",
        "side_targets",
        "side_mask",
    ),
    CTPNOptions,
    CTPNParts,
    6,
)
ACTIVE_CONTOUR = Description("active_contour", ("input",), ("target",), ActiveContourOptions, ActiveContourParts, 4)
# Declared below: its predictions come as an array.
STRUCTURE = Description(
    "structure", ("pred",), ("mask",), StructureOptions, StructureParts, 1, has_items=True, is_list=True
)
BALANCE_MAP = Description("balance_map", BALANCE.predictions, BALANCE.constants, BalanceOptions, BalanceParts, 0)
DB_STEP = Description("db_step", ("prob", "thresh"), (), DBStepOptions, MeanParts, 0)
BOUNDARY = Description("boundary", ("pred",), ("labels",), BoundaryOptions, BoundaryParts, 4, has_items=True)
LOSSES = (
    MASK_DICE,
    MASK_L1,
    BALANCE,
    DB,
    L1_BALANCE_CE,
    DICE,
    DICE_BCE,
    IOU,
    TVERSKY,
    FOCAL_TVERSKY,
    BCE,
    FOCAL,
    SMOOTH_L1,
    CROSS_ENTROPY,
    CTPN,
    ACTIVE_CONTOUR,
    BOUNDARY,
)

Task = ctypes.CFUNCTYPE(None, c_void_p, c_int32)
Run = ctypes.CFUNCTYPE(None, c_void_p, c_int32, Task, c_void_p)
OMPBody = ctypes.CFUNCTYPE(None, c_void_p)
OMPParallel = ctypes.CFUNCTYPE(None, OMPBody, c_void_p, c_uint32, c_uint32)
OMPMaxThreads = ctypes.CFUNCTYPE(c_int32)

# Types of arguments.
_inputs: list[Any]
_outputs: list[Any]
_TENSOR = POINTER(Tensor)
_CALL: list[Any] = [POINTER(Execution), POINTER(Error)]

lib = _library.load()


def _declare(name: str, arguments: list[Any], result: Any = c_int32) -> Any:
    try:
        function = getattr(lib, "segloss_" + name)
    except AttributeError:
        raise _library.broken(f"{lib._name} lacks segloss_{name}, so it is older than this package") from None
    function.argtypes = arguments
    function.restype = result
    return function


version = _declare("version", [], ctypes.c_char_p)
status_name = _declare("status_name", [c_int32], ctypes.c_char_p)
instruction_set = _declare("instruction_set", [POINTER(Error)], ctypes.c_char_p)
set_num_threads = _declare("set_num_threads", [c_int32], None)
num_threads = _declare("num_threads", [])
set_runner = _declare("set_runner", [Run, c_void_p, c_int32], None)
set_openmp = _declare("set_openmp", [OMPParallel, OMPMaxThreads], None)
shutdown = _declare("shutdown", [], None)

for _loss in LOSSES:
    _inputs = [_TENSOR] * len(_loss.inputs) + [POINTER(_loss.options)]
    _outputs = [c_double, POINTER(_loss.parts)] + [_TENSOR] * len(_loss.predictions) + _CALL
    _array = [POINTER(c_double), c_int64]
    _declare(_loss.name, _inputs + _outputs)
    _declare(_loss.name + "_statistics", _inputs + _array + _CALL)
    _declare(_loss.name + "_finish", _inputs + _array + _outputs)
    if _loss.has_items:
        _declare(_loss.name + "_items", _inputs + [_TENSOR] * (2 + len(_loss.predictions)) + _CALL)

balance_map = _declare("balance_map", [_TENSOR] * 3 + [POINTER(BalanceOptions), _TENSOR] + _CALL)
balance_map_backward = _declare("balance_map_backward", [_TENSOR] * 4 + [POINTER(BalanceOptions), _TENSOR] + _CALL)
db_step = _declare("db_step", [_TENSOR] * 2 + [POINTER(DBStepOptions), _TENSOR] + _CALL)
db_step_backward = _declare("db_step_backward", [_TENSOR] * 3 + [POINTER(DBStepOptions), _TENSOR, _TENSOR] + _CALL)
mt19937_seed = _declare("mt19937_seed", [POINTER(MT19937), c_uint32], None)
ctpn_anchor_targets = _declare(
    "ctpn_anchor_targets",
    [_TENSOR] * 3
    + [c_double] * 2
    + [POINTER(CTPNAnchorTargetsOptions), POINTER(MT19937)]
    + [_TENSOR] * 6
    + [POINTER(Error)],
)

_inputs = [_TENSOR, c_int32, _TENSOR, POINTER(StructureOptions)]
_outputs = [c_double, POINTER(StructureParts), POINTER(c_double), _TENSOR] + _CALL
structure = _declare("structure", _inputs + _outputs)
_declare("structure_statistics", _inputs + [POINTER(c_double), c_int64] + _CALL)
_declare("structure_finish", _inputs + [POINTER(c_double), c_int64] + _outputs)
_declare("structure_items", [_TENSOR] * 2 + [POINTER(StructureOptions)] + [_TENSOR] * 3 + _CALL)

_program = [c_void_p, c_int64, c_void_p, c_int32]
program_outputs = _declare("program_outputs", _program + [c_void_p] * 4)
program_passes = _declare("program_passes", _program + [c_void_p] * 2)
program_forward = _declare("program_forward", _program + [c_void_p, c_int64] * 2 + [c_void_p, c_void_p])
_declare("program_value_and_gradient", _program + [c_void_p, c_int64] * 2 + [c_void_p] * 3)
_declare("program_value", _program + [c_void_p, c_int64] * 2 + [c_void_p, c_void_p])
_declare("program_gradient", _program + [c_void_p, c_int64, c_void_p, c_void_p, c_void_p])


_declare("program_run", [c_void_p] * 2)
# Without types of arguments, for those that are made once: converting them takes as long as the call.
program_run = lib["segloss_program_run"]
program_run.restype = c_int32
# For calls that are over before other threads of Python could make use of the interpreter.
program_run_held = ctypes.PyDLL(lib._name, handle=lib._handle)["segloss_program_run"]
program_run_held.restype = c_int32

# Called by XLA.
for _name in ("forward", "value", "gradient"):
    _declare("xla_" + _name, [c_void_p], c_void_p)


def check(status: int, error: Error, names: Mapping[str, str] = {}) -> None:
    """Raises what a status means, with the library's sentence; `names` are Python's for C's parameters."""
    if status == 0:
        return
    name, colon, rest = error.message.decode().partition(":")
    sentence = names.get(name, name) + colon + rest
    if status == STATUS_ELEMENT_TYPE:
        raise TypeError(sentence)
    if status == STATUS_OUT_OF_MEMORY:
        raise MemoryError(sentence)
    if status == STATUS_INSTRUCTION_SET:
        raise RuntimeError(sentence)
    raise ValueError(sentence)
