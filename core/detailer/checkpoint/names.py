"""The names that the pickle of a detector may mention.  None of them is ever imported or called."""

from __future__ import annotations

from .pickles import Name

PACKAGES = ("ultralytics.", "torch.nn.modules.", "models.", "utils.")
"""Modules below these are classes of networks and of their training ("models." and "utils." are YOLOv5's)."""

NAMES = frozenset(
    """
    collections.OrderedDict collections.defaultdict copyreg._reconstructor copy_reg._reconstructor
    builtins.dict builtins.getattr builtins.int builtins.list builtins.object builtins.set builtins.slice
    __builtin__.dict __builtin__.getattr __builtin__.int __builtin__.list __builtin__.object __builtin__.set
    __builtin__.slice _codecs.encode argparse.Namespace types.SimpleNamespace dill._dill._load_type
    datetime.datetime pathlib.Path pathlib.PosixPath pathlib.PurePosixPath pathlib.PureWindowsPath
    pathlib.WindowsPath pathlib._local.Path pathlib._local.PosixPath pathlib._local.PurePosixPath
    pathlib._local.PureWindowsPath pathlib._local.WindowsPath
    numpy.dtype numpy.ndarray numpy.float16 numpy.float32 numpy.float64 numpy.int32 numpy.int64
    numpy.core.multiarray._reconstruct numpy.core.multiarray.scalar
    numpy._core.multiarray._reconstruct numpy._core.multiarray.scalar
    torch.Size torch.device torch.Tensor torch.float16 torch.float32 torch.float64 torch.bfloat16
    torch.int8 torch.int16 torch.int32 torch.int64 torch.uint8 torch.bool
    torch.BFloat16Storage torch.BoolStorage torch.ByteStorage torch.CharStorage torch.DoubleStorage
    torch.FloatStorage torch.HalfStorage torch.IntStorage torch.LongStorage torch.ShortStorage
    torch._utils._rebuild_parameter torch._utils._rebuild_tensor torch._utils._rebuild_tensor_v2
    torch.nn.parameter.Parameter torch.serialization._get_layout
    """.split()
)


def permitted(name: Name) -> bool:
    """Return whether a detector's pickle may mention ``name``."""
    full = str(name)
    if full in NAMES:
        return True
    parts = full.split(".")
    own = all(part.isascii() and part.isidentifier() and not part.startswith("_") for part in parts)
    return own and name.module.startswith(PACKAGES) and "." not in name.name
