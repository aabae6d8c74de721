"""A language model of 40,000 parameters and texts of its own, made on the spot: for checks and tests, which must download nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.activations.builtin import quiet, transformers_with
from testbed.activations.folders import cache_folder, made_once
from testbed.store import digest_of

DOCUMENTS, SENTENCES, STEPS, LENGTH = 150, 40, 150, 32

TOPICS = (
    ("the cat", "a mouse", "the bird", "some milk", "an owl"),
    ("the ship", "an island", "the storm", "a harbour", "the crew"),
    ("the number", "a sum", "the root", "an even square", "a prime"),
    ("the baker", "some bread", "an oven", "the flour", "a cake"),
    ("the judge", "a law", "the court", "an old case", "the jury"),
)
VERBS = ("sees", "follows", "makes", "leaves", "finds", "needs")


@dataclass(frozen=True)
class Tiny:
    """Folders of a model and of the texts that it was trained on."""

    model: Path
    text: Path


def tiny(home: Path | None = None) -> Tiny:
    """The tiny model and its texts, made in the user's cache (or below `home`) if they are not there yet; a few seconds.

    It is trained a little on its own texts, a topic to a document, so that its activations matter to what it predicts.
    """
    name = f"tiny-{digest_of(Path(__file__))[:16]}"
    folder = made_once((home or cache_folder() / "models") / name, _make)
    return Tiny(folder / "model", folder / "text")


def _make(folder: Path) -> None:
    texts = [_document(number) for number in range(DOCUMENTS)]
    (folder / "text").mkdir()
    for number, text in enumerate(texts):
        (folder / "text" / f"{number:03d}.txt").write_text(text, encoding="utf-8")
    tokenizer = _tokenizer(texts)
    model = _trained(tokenizer, texts)
    with quiet():
        model.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")


def _document(number: int) -> str:
    """Sentences about one topic, such as "The judge finds the court. "."""
    generator = random.Random(number)
    topic = TOPICS[number % len(TOPICS)]
    sentences = []
    for _ in range(SENTENCES):
        subject, thing = generator.sample(topic, 2)
        sentences.append(f"{subject.capitalize()} {generator.choice(VERBS)} {thing}.")
    return " ".join(sentences)


def _tokenizer(texts: list[str]) -> Any:
    """Byte-level pair encoding, as real models have, with 400 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    transformers = transformers_with("tokenizers")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<end>"],
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<end>")


def _trained(tokenizer: Any, texts: list[str]) -> Any:
    import torch

    transformers = transformers_with()
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    tokens = torch.tensor([token for text in texts for token in tokenizer(text)["input_ids"]])
    rows = tokens[: len(tokens) // LENGTH * LENGTH].reshape(-1, LENGTH)  # (windows, length)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        model = transformers.LlamaForCausalLM(config)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(STEPS):
            batch = rows[torch.randint(len(rows), (16,))]
            loss = model(input_ids=batch, labels=batch, use_cache=False).loss
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval()
