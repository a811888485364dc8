"""Text to token ids and back: one tokenizer file format for every kind."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxdl.errors import ConfigError, DataError

Kind = Literal["character", "byte", "bpe", "unigram", "wordpiece"]
SPECIAL = ("<pad>", "<unk>", "<bos>", "<eos>", "<mask>", "<sep>")
"""The special tokens of a tokenizer trained here, with ids 0 to 5."""
_ROLES = {
    "pad": ("<pad>", "[PAD]", "<|pad|>", "<|finetune_right_pad_id|>"),
    "unknown": ("<unk>", "[UNK]"),
    "begin": ("<bos>", "<s>", "[CLS]", "<|begin_of_text|>", "<|im_start|>", "<|endoftext|>"),
    "end": ("<eos>", "</s>", "[SEP]", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>"),
    "mask": ("<mask>", "[MASK]"),
    "separator": ("<sep>", "[SEP]", "</s>"),
}


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """A tokenizer as a value: the text of its `tokenizer.json`, the format of Hugging Face's tokenizers.

    Attributes:
      json: The whole file.

    Raises:
      DataError: it is no such file.

    >>> tokenizer = characters(["abba"])
    >>> tokenizer.decode(tokenizer.encode("bab"))
    'bab'
    """

    json: str

    def __post_init__(self) -> None:
        assert self._library is not None

    @functools.cached_property
    def _library(self) -> Any:
        library = _import()
        with _explained("This is no tokenizer.json"):
            made = library.Tokenizer.from_str(self.json)
        made.no_padding()
        made.no_truncation()
        return made

    def __repr__(self) -> str:
        return f"Tokenizer({self.vocabulary_size} tokens)"

    @property
    def vocabulary_size(self) -> int:
        """The number of ids, special tokens included."""
        return self._library.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str, *, special: bool = False) -> np.ndarray:
        """Token ids of a text, int32 (T,); `special` adds what the tokenizer's template puts around one."""
        with _explained(f"The tokenizer cannot encode {text[:40]!r}"):
            return np.asarray(self._library.encode(text, add_special_tokens=special).ids, np.int32)

    def encode_all(self, texts: Sequence[str], *, special: bool = False) -> list[np.ndarray]:
        """Token ids of many texts, on all processors."""
        with _explained("The tokenizer cannot encode a text"):
            encoded = self._library.encode_batch_fast(list(texts), add_special_tokens=special)
        return [np.asarray(one.ids, np.int32) for one in encoded]

    def offsets(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Token ids (T,) and the characters `[begin, end)` of the text that each stands for (T, 2)."""
        return self.offsets_all([text])[0]

    def offsets_all(self, texts: Sequence[str]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The `offsets` of many texts, on all processors."""
        with _explained("The tokenizer cannot encode a text"):
            encoded = self._library.encode_batch(list(texts), add_special_tokens=False)
        return [(np.asarray(one.ids, np.int32), np.asarray(one.offsets, np.int64).reshape(-1, 2)) for one in encoded]

    def decode(self, ids: Iterable[int], *, special: bool = False) -> str:
        """The text of token ids; special tokens are left out unless `special`."""
        with _explained("The tokenizer cannot decode these ids"):
            return self._library.decode([int(one) for one in ids], skip_special_tokens=not special)

    def token(self, index: int) -> str:
        """The token of an id, as the vocabulary spells it.

        Raises:
          KeyError: there is no such id.
        """
        found = self._library.id_to_token(int(index))
        if found is None:
            raise KeyError(f"There is no token {index}; the vocabulary has {self.vocabulary_size}.")
        return found

    def find(self, role: Literal["pad", "unknown", "begin", "end", "mask", "separator"]) -> int | None:
        """The id of a special token by its role, under any of the names that it has in the field; None without one."""
        ids = (self._library.token_to_id(name) for name in _ROLES[role])
        return next((index for index in ids if index is not None), None)

    def special(self, role: Literal["pad", "unknown", "begin", "end", "mask", "separator"]) -> int:
        """The id of a special token that must be there.

        Raises:
          ConfigError: the tokenizer has none.
        """
        found = self.find(role)
        if found is None:
            raise ConfigError(f"The tokenizer has no {role!r} token: one of {', '.join(_ROLES[role])} is needed.")
        return found

    def save(self, path: str | Path) -> None:
        """Writes `tokenizer.json`, which Hugging Face's libraries read too."""
        Path(path).write_text(self.json, encoding="utf-8")


def load_tokenizer(*, path: str) -> Tokenizer:
    """Reads a `tokenizer.json`, or that of the folder `path`.

    Raises:
      DataError: it cannot be read, or is no tokenizer.
    """
    file = Path(path).expanduser()
    file = file / "tokenizer.json" if file.is_dir() else file
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The tokenizer {file} cannot be read: {error}.") from error
    try:
        return Tokenizer(text)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def characters(texts: Iterable[str]) -> Tokenizer:
    """One token for each character that occurs in the texts, in the order of their code points."""
    alphabet = sorted({character for text in texts for character in text})
    if not alphabet:
        raise DataError("The texts hold no character to make tokens of.")
    library = _import()
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    made = library.Tokenizer(library.models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(r"[\s\S]"), behavior="isolated")
    made.decoder = library.decoders.Fuse()
    made.add_special_tokens(list(SPECIAL))
    return Tokenizer(made.to_str())


def utf8_bytes() -> Tokenizer:
    """One token for each byte of UTF-8: 256 of them, after the special ones."""
    library = _import()
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    made = library.Tokenizer(library.models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = library.decoders.ByteLevel()
    made.add_special_tokens(list(SPECIAL))
    return Tokenizer(made.to_str())


def train_tokenizer(texts: Iterable[str], *, kind: Kind = "bpe", vocabulary_size: int = 8_000) -> Tokenizer:
    """Learns a vocabulary from texts.

    "bpe" merges pairs of bytes (Sennrich et al. 2016, on bytes as in Radford et al. 2019), so that any text comes back
    as it was; "unigram" keeps the likeliest pieces (Kudo 2018) and "wordpiece" is BERT's (lower case, without
    accents, words split at spaces and punctuation). "character" and "byte" learn no merges and read no size.

    Raises:
      ConfigError: the vocabulary is too small for the kind.
      DataError: there is no text.
    """
    if kind == "character":
        return characters(texts)
    if kind == "byte":
        return utf8_bytes()
    library = _import()
    least = len(SPECIAL) + (256 if kind == "bpe" else 1)
    if vocabulary_size <= least:
        raise ConfigError(f"vocabulary_size must be above {least} for {kind!r}, not {vocabulary_size}.")
    made, trainer = _untrained(library, kind, vocabulary_size)
    made.add_special_tokens(list(SPECIAL))
    made.train_from_iterator(_some(texts), trainer)
    return Tokenizer(made.to_str())


def _untrained(library: Any, kind: Kind, size: int) -> tuple[Any, Any]:
    options = {"vocab_size": size, "special_tokens": list(SPECIAL), "show_progress": False}
    match kind:
        case "bpe":
            made = library.Tokenizer(library.models.BPE())
            made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
            made.decoder = library.decoders.ByteLevel()
            alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
            return made, library.trainers.BpeTrainer(initial_alphabet=alphabet, **options)
        case "unigram":
            made = library.Tokenizer(library.models.Unigram())
            made.normalizer = library.normalizers.NFKC()
            made.pre_tokenizer = library.pre_tokenizers.Metaspace()
            made.decoder = library.decoders.Metaspace()
            return made, library.trainers.UnigramTrainer(unk_token="<unk>", **options)
        case "wordpiece":
            made = library.Tokenizer(library.models.WordPiece(unk_token="<unk>"))
            made.normalizer = library.normalizers.BertNormalizer(lowercase=True)
            made.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
            made.decoder = library.decoders.WordPiece()
            return made, library.trainers.WordPieceTrainer(**options)
    raise ConfigError(f"kind must be 'character', 'byte', 'bpe', 'unigram' or 'wordpiece', not {kind!r}.")


def _some(texts: Iterable[str]) -> Iterable[str]:
    """The texts that hold anything; at least one must."""
    empty = True
    for text in texts:
        if text:
            empty = False
            yield text
    if empty:
        raise DataError("There is no text to learn a vocabulary from.")


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    # The library raises plain Exception for whatever it cannot read.
    except Exception as error:
        raise DataError(f"{what}: {error}.") from error


def _import() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.normalizers
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError as error:
        raise ConfigError("Text needs the tokenizers library: pip install 'jaxdl[text]'.") from error
    return tokenizers
