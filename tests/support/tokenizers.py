"""Tokenizers of the kinds that models have, trained on a few sentences of many languages."""

from collections.abc import Callable, Mapping, Sequence

from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from tests.support.tiny import tiny_tokenizer

_TEXT = [
    "The capital of France is Paris, and Rome is the capital of Italy. Paris Rome Paris Rome.",
    'He said " Hello " and ( 42 ) at https:// www.acme.org for $ 400 ;',
    'print ( " Hello , world " ) .',
    "中国 的 首都 是 北京 。 日本 の 首都 は 東京 です 。",
    "ประเทศ ไทย เมือง หลวง คือ กรุงเทพ 대한민국의 수도는 서울",
] * 40
_LLAMA3 = (  # Llama 3's: punctuation joins the letters after it, numbers go by three digits
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_START, _UNKNOWN = "<s>", "<unk>"


def llama3_like() -> PreTrainedTokenizerFast:
    """Byte-level BPE with the words of Llama 3."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = _trainer(480, alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(_TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """BPE with a mark for spaces, put before every text as well, as Llama 2's file has it."""
    tokenizer = Tokenizer(models.BPE(unk_token=_UNKNOWN, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer.train_from_iterator(_TEXT, _trainer(700, special=[_UNKNOWN, *bytes_]))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=_UNKNOWN)


def beginning() -> PreTrainedTokenizerFast:
    """The tiny one, which begins every text with a token of its own."""
    fast = tiny_tokenizer()
    fast.add_special_tokens({"bos_token": _START})
    fast.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{_START} $A", special_tokens=[(_START, fast.bos_token_id)]
    )
    return fast


TOKENIZERS: Mapping[str, Callable[[], PreTrainedTokenizerFast]] = {
    "gpt2-like": tiny_tokenizer,
    "llama3-like": llama3_like,
    "sentencepiece-like": sentencepiece_like,
    "with a beginning": beginning,
}


def _trainer(
    size: int, *, special: Sequence[str] = (), alphabet: Sequence[str] = ()
) -> trainers.BpeTrainer:
    return trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(special),
        initial_alphabet=list(alphabet),
        show_progress=False,
    )
