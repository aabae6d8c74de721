"""Language models: load them, hook them, run them on texts, keep their activations on disk."""

from __future__ import annotations

from testbed.activations.builtin import BUILT_IN, BuiltIn
from testbed.activations.cache import cache_activations
from testbed.activations.hooks import collect, replace, residual, resolve, resumed
from testbed.activations.models import LanguageModel, Source, load_model, load_tokenizer, locate
from testbed.activations.patching import Patching
from testbed.activations.text import Document, documents, fingerprint
from testbed.activations.windows import Window, cut, ordered, samples

__all__ = [
    "BUILT_IN",
    "BuiltIn",
    "Document",
    "LanguageModel",
    "Patching",
    "Source",
    "Window",
    "cache_activations",
    "collect",
    "cut",
    "documents",
    "fingerprint",
    "load_model",
    "load_tokenizer",
    "locate",
    "ordered",
    "replace",
    "residual",
    "resolve",
    "resumed",
    "samples",
]
