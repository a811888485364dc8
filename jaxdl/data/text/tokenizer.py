"""Text to token ids and back: one tokenizer file format for every kind."""

import contextlib
import dataclasses
import functools
import io
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

    def unknown(self, text: str) -> tuple[str, ...]:
        """The parts of a text that become the unknown token, each once, in the order of their coming.

        >>> characters(["abba"]).unknown("a-b?-")
        ('-', '?')
        """
        ids, spans = self.offsets(text)
        found = (text[begin:end] for begin, end in spans[ids == self.find("unknown")])
        return tuple(dict.fromkeys(found))

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
    accents, words split at spaces and punctuation). "character" and "byte" learn no merges and read no size. The same
    texts in the same order give the same tokenizer.

    Raises:
      ConfigError: the vocabulary is too small for the kind.
      DataError: there is no text.
    """
    if kind == "character":
        return characters(texts)
    if kind == "byte":
        return utf8_bytes()
    least = len(SPECIAL) + (256 if kind == "bpe" else 1)
    if vocabulary_size <= least:
        raise ConfigError(f"vocabulary_size must be above {least} for {kind!r}, not {vocabulary_size}.")
    library = _import()
    match kind:
        case "bpe":
            return _trained_bpe(library, _some(texts), vocabulary_size)
        case "unigram":
            return _trained_unigram(library, _some(texts), vocabulary_size)
        case "wordpiece":
            return _trained_wordpiece(library, list(_some(texts)), vocabulary_size)
    raise ConfigError(f"kind must be 'character', 'byte', 'bpe', 'unigram' or 'wordpiece', not {kind!r}.")


def _trained_bpe(library: Any, texts: Iterable[str], size: int) -> Tokenizer:
    made = library.Tokenizer(library.models.BPE())
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = library.decoders.ByteLevel()
    made.add_special_tokens(list(SPECIAL))
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    options = {"vocab_size": size, "special_tokens": list(SPECIAL), "show_progress": False}
    made.train_from_iterator(texts, library.trainers.BpeTrainer(initial_alphabet=alphabet, **options))
    return Tokenizer(made.to_str())


def _trained_wordpiece(library: Any, texts: Sequence[str], size: int) -> Tokenizer:
    normalizer = library.normalizers.BertNormalizer(lowercase=True)
    splitter = library.pre_tokenizers.BertPreTokenizer()
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))}
    # The library numbers these in the order of a hash map, another one in each call, and that decides between equals.
    inner = sorted({f"##{character}" for word in words for character in word[1:]})
    made = library.Tokenizer(library.models.WordPiece(unk_token="<unk>"))
    made.normalizer, made.pre_tokenizer = normalizer, splitter
    options = {"vocab_size": size, "special_tokens": [*SPECIAL, *inner], "show_progress": False}
    made.train_from_iterator(texts, library.trainers.WordPieceTrainer(**options))
    model = library.models.WordPiece(made.get_vocab(with_added_tokens=True), unk_token="<unk>")
    made = library.Tokenizer(model)  # Anew, as what was named special there would be found in any text.
    made.normalizer, made.pre_tokenizer = normalizer, splitter
    made.decoder = library.decoders.WordPiece()
    made.add_special_tokens(list(SPECIAL))
    return Tokenizer(made.to_str())


_STAND_INS = {"\t": "\ue009", "\n": "\ue00a", "\r": "\ue00d"}
"""What SentencePiece reads as ends, and private characters that it reads as any other."""


def _trained_unigram(library: Any, texts: Iterable[str], size: int) -> Tokenizer:
    # SentencePiece, because the trainer of tokenizers gives another vocabulary in each call.
    try:
        import sentencepiece
    except ImportError as error:
        raise ConfigError("Unigram tokenizers need sentencepiece: pip install 'jaxdl[text]'.") from error
    normalizer, out = library.normalizers.NFKC(), io.BytesIO()
    to, back = str.maketrans(_STAND_INS), str.maketrans({new: old for old, new in _STAND_INS.items()})
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(normalizer.normalize_str(text).translate(to) for text in texts),
            model_writer=out,
            model_type="unigram",
            vocab_size=size - len(SPECIAL) + 1,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            split_by_unicode_script=False,
            split_by_number=False,
            max_sentence_length=1 << 30,
            unk_id=0,
            bos_id=-1,
            eos_id=-1,
            num_threads=16,  # Whatever the machine has: sums are added in the order of the threads.
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"vocabulary_size={size} does not fit these texts: {error}") from error
    learned = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    pieces = [(learned.id_to_piece(i).translate(back), learned.get_score(i)) for i in range(1, len(learned))]
    model = library.models.Unigram([*((token, 0.0) for token in SPECIAL), *pieces], unk_id=SPECIAL.index("<unk>"))
    made = library.Tokenizer(model)
    made.normalizer = normalizer
    made.pre_tokenizer = library.pre_tokenizers.Metaspace()
    made.decoder = library.decoders.Metaspace()
    made.add_special_tokens(list(SPECIAL))
    return Tokenizer(made.to_str())


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
