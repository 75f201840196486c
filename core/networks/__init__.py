"""Network files (LoRA, LoHa, LoKr, DoRA, full differences) and embeddings, read and laid on a model."""

from .deltas import Delta, delta_weight
from .embeddings import Embedding, load_embedding
from .family import Family, family_of, family_of_model
from .keys import Part
from .matching import Matched, match, parameter_shapes
from .network import Network, NetworkModule, load_network
from .patching import Patched, Use
from .tensor_files import FileHashes, file_hashes

__all__ = [
    "Delta",
    "Embedding",
    "Family",
    "FileHashes",
    "Matched",
    "Network",
    "NetworkModule",
    "Part",
    "Patched",
    "Use",
    "delta_weight",
    "family_of",
    "family_of_model",
    "file_hashes",
    "load_embedding",
    "load_network",
    "match",
    "parameter_shapes",
]
