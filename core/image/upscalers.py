"""Upscalers that are networks: any that spandrel knows, read without running a file's code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import BadFile, BadValue, Missing
from ..networks.tensor_files import read_tensor_file
from .tiles import Tiling, run_tiled
from .upscale import RESAMPLERS, Pixels, Upscaler

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
"""Endings of files of weights, the preferred one first."""
FILES = {
    "R-ESRGAN 4x+": "RealESRGAN_x4plus",
    "R-ESRGAN 4x+ Anime6B": "RealESRGAN_x4plus_anime_6B",
    "R-ESRGAN 2x+": "RealESRGAN_x2plus",
    "R-ESRGAN General 4xV3": "realesr-general-x4v3",
    "R-ESRGAN General WDN 4xV3": "realesr-general-wdn-x4v3",
    "R-ESRGAN AnimeVideo": "realesr-animevideov3",
    "ESRGAN_4x": "ESRGAN",
    "SwinIR 4x": "SwinIR_4x",
    "DAT x2": "DAT_x2",
    "DAT x3": "DAT_x3",
    "DAT x4": "DAT_x4",
}
"""The web UIs' names of upscalers whose files are called otherwise: name → file without its ending."""

TILING = Tiling()
"""The tiles unless others are asked for."""
_SMALLEST_TILE = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkUpscaler:
    """A network that enlarges pictures by ``scale``, run in tiles.

    ``network``: RGB (1, 3, h, w) in 0 … 1 → (1, 3, s h, s w), for instance a model of spandrel.  ``channels``:
    3, or 1 for networks of grey pictures, which take the colours one by one.  ``whole``: the network must see
    the whole picture at once.  ``architecture``: for people.
    """

    name: str
    network: Any
    scale: int
    channels: int = 3
    device: torch.device | str = "cpu"
    dtype: torch.dtype = torch.float32
    tiling: Tiling = TILING
    whole: bool = False
    architecture: str = ""

    @torch.inference_mode()
    def __call__(self, image: Pixels, factor: float) -> Pixels:
        """Enlarge ``image``, uint8 (H, W, 3), by ``scale``; values are rounded once, NaN becomes black.

        ``factor`` is for other upscalers.  When memory runs out the tiles are halved.
        """
        del factor
        pixels = torch.tensor(image, device=self.device).to(self.dtype) / 255
        out = self.enlarge(pixels.permute(2, 0, 1)[None])[0]
        levels = out.nan_to_num(0.0).clamp_(0, 1).mul_(255).round_().to(torch.uint8)
        return levels.permute(1, 2, 0).cpu().contiguous().numpy()

    @torch.inference_mode()
    def enlarge(self, image: Tensor) -> Tensor:
        """Return ``image`` (1, 3, H, W), 0 … 1, enlarged, float32; raises ``BadValue`` as ``run_tiled``."""
        if self.channels == 1:
            return torch.cat([self._tiled(image[:, i : i + 1]) for i in range(image.shape[1])], dim=1)
        return self._tiled(image)

    def _tiled(self, image: Tensor) -> Tensor:
        tiling = None if self.whole else self.tiling
        while True:
            try:
                return run_tiled(self.network, image, tiling)
            except torch.OutOfMemoryError:
                smaller = 0 if tiling is None else min(tiling.size, *image.shape[-2:]) // 2
                if tiling is None or smaller < _SMALLEST_TILE:
                    raise
                tiling = Tiling(size=smaller, overlap=min(tiling.overlap, smaller // 2))


def load_upscaler(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    tiling: Tiling | None = None,
) -> NetworkUpscaler:
    """Load an upscaler's weights: ESRGAN, SwinIR, DAT, HAT and whatever else spandrel knows.

    ``path``: safetensors, or a torch pickle, of which only the weights are read.  ``dtype``: one that the
    network cannot have gives way to float32.  Its ``name`` is the file's, without the ending.
    Raises ``BadFile`` for a file that is missing, damaged or no picture network, ``Missing`` without spandrel.
    """
    path = Path(path)
    weights = _weights(read_tensor_file(path).data)
    if not weights:
        raise BadFile(f"{path.name} holds no weights of an upscaler; check that it is the right file")
    model = _model(path.name, weights)
    if dtype is torch.float16 and not model.supports_half:
        dtype = torch.float32
    if dtype is torch.bfloat16 and not model.supports_bfloat16:
        dtype = torch.float32
    if model.input_channels not in (1, 3) or model.input_channels != model.output_channels:
        raise BadFile(
            f"{path.name} makes {model.output_channels} channels of {model.input_channels}; "
            "pass a network from RGB to RGB"
        )
    return NetworkUpscaler(
        name=path.stem,
        network=model.to(device=torch.device(device), dtype=dtype).eval(),
        scale=model.scale,
        channels=model.input_channels,
        device=device,
        dtype=dtype,
        tiling=tiling or TILING,
        whole=model.tiling.name == "INTERNAL",
        architecture=model.architecture.name,
    )


def find_upscaler(name: str, folders: Iterable[str | Path] = (), **options: Any) -> Upscaler:
    """Return the upscaler called ``name``: one of ``RESAMPLERS``, a file, or one of ``folders``.

    A file is found by the web UIs' name for it, by its own name, with or without the ending, in any case of
    letters, or by its path.  ``options``: of ``load_upscaler``.  Raises ``BadValue`` that lists what there is.
    """
    if name in RESAMPLERS:
        return RESAMPLERS[name]
    if Path(name).is_file():
        return load_upscaler(name, **options)
    files = _files(folders)
    for wanted in (name, FILES.get(name, name), Path(name).stem if Path(name).suffix in SUFFIXES else name):
        if found := files.get(wanted.lower()):
            return load_upscaler(found, **options)
    known = ", ".join([*RESAMPLERS, *sorted(path.stem for path in files.values())])
    raise BadValue(
        f"no upscaler {name!r}; known: {known}; put its file into a folder of upscalers, or pass its path"
    )


def _files(folders: Iterable[str | Path]) -> dict[str, Path]:
    """Return the files of weights in ``folders`` by name in small letters; the first of a name counts."""
    found: dict[str, Path] = {}
    for folder in folders:
        paths = [path for path in Path(folder).rglob("*") if path.suffix.lower() in SUFFIXES]
        for path in sorted(paths, key=lambda path: (SUFFIXES.index(path.suffix.lower()), path)):
            found.setdefault(path.stem.lower(), path)
    return found


def _weights(data: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, out of the tables that training programs wrap them in."""
    inner: Mapping[str, Any] = data
    for key in ("params_ema", "params", "state_dict", "model_state_dict", "model", "net"):
        if isinstance(value := data.get(key), Mapping):
            inner = cast("Mapping[str, Any]", value)
            break
    tensors = {str(name): value for name, value in inner.items() if isinstance(value, Tensor)}
    for prefix in ("module.", "netG."):
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name[len(prefix) :]: value for name, value in tensors.items()}
    return tensors


def _model(name: str, weights: dict[str, Tensor]) -> Any:
    """Return spandrel's model of ``weights``, on the CPU."""
    from ..torchvision_stand_in import torchvision_stand_in  # noqa: PLC0415

    with torchvision_stand_in():
        try:
            spandrel: Any = import_module("spandrel")
        except ImportError as error:
            raise Missing(
                f"upscalers that are networks need spandrel; pip install --no-deps spandrel einops ({error})"
            ) from error
        try:
            model: Any = spandrel.ModelLoader().load_from_state_dict(weights)
        except spandrel.UnsupportedModelError as error:
            raise BadFile(
                f"{name} is of no architecture that spandrel knows; see its list, or use another upscaler"
            ) from error
        except (RuntimeError, ValueError, LookupError, AssertionError, TypeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise BadFile(f"{name} is damaged or incomplete ({reason}); download it again") from error
        if not isinstance(model, spandrel.ImageModelDescriptor):
            raise BadFile(f"{name} is not a network from picture to picture; use an upscaler")
    return model
