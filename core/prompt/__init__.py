"""Prompt text → tree → schedule → weights → chunks → conditioning."""

from .chunks import Chunk, chunk_tokens
from .conditioning import Active, Conditioning
from .conjunction import combine_denoised, split_and
from .dialect import DIALECTS, Dialect, RunShape
from .emphasis import EMPHASIS
from .encode import encode
from .encoder import Insert, TextEncoder
from .networks import NetworkTag, extract_networks
from .plan import Known, Part, PromptPlan, Segment, plan
from .schedule import parse_schedule, text_for_call
from .styles import Style, apply_styles, read_styles, strip_comments
from .tokenizer import Tokenizer, clip_tokenizer
from .warnings import PromptWarning, draw_warning
from .weights import parse_weights
from .wildcards import Expansion, expand_wildcards

__all__ = [
    "DIALECTS",
    "EMPHASIS",
    "Active",
    "Chunk",
    "Conditioning",
    "Dialect",
    "Expansion",
    "Insert",
    "Known",
    "NetworkTag",
    "Part",
    "PromptPlan",
    "PromptWarning",
    "RunShape",
    "Segment",
    "Style",
    "TextEncoder",
    "Tokenizer",
    "apply_styles",
    "chunk_tokens",
    "clip_tokenizer",
    "combine_denoised",
    "draw_warning",
    "encode",
    "expand_wildcards",
    "extract_networks",
    "parse_schedule",
    "parse_weights",
    "plan",
    "read_styles",
    "split_and",
    "strip_comments",
    "text_for_call",
]
