"""The check of docstrings finds what is missing, and nothing else."""

from tests.docstrings import complaints

GOOD = '''"""A module."""

def scaled(reward, factor, task_ids, *, clip):
    """Return the rewards `[B]`, scaled.

    Args:
      reward, factor: `[B]` and `[T]`.
      task_ids: `[B]`.
      clip: the largest absolute value.
    """

def _hidden(a, b, c, d): ...

def main(): ...

class Kept:
    """Something."""

    def close(self): ...
'''


def test_a_documented_module_has_no_complaints():
    assert list(complaints(GOOD)) == []


def test_each_missing_piece_is_named():
    source = (
        GOOD.replace('"""A module."""', "").replace("      task_ids: `[B]`.\n", "").replace('"Something.', '"Of us.')
    )
    assert [text for _, text in complaints(source)] == [
        "the module has no docstring",
        "scaled: Args: lacks task_ids",
        "the docstring of Kept begins with 'Of': it needs a subject or a verb",
    ]
    assert [text for _, text in complaints('"""A module."""\n\n\ndef bare(): ...\n')] == ["bare has no docstring"]
