"""How a tokenizer begins a text: once, also where the text itself has that beginning already."""

from transformers import PreTrainedTokenizerBase


def begun_once(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    """A text's ids without the beginning that the tokenizer put before that of the text itself."""
    begin = tokenizer.bos_token_id
    if begin is None or ids[:2] != [begin, begin]:
        return ids
    adds_it = tokenizer("")["input_ids"][:1] == [begin]
    return ids[1:] if adds_it else ids
