"""How an optional client is installed; told by whatever needs one that is not there.

The project is installed from its folder: no package index has it (docs/KMS.md).
"""


def how_to_install(extra: str) -> str:
    """What to run for the clients of one of the extras in pyproject.toml."""
    return f"run pip install '.[{extra}]' in the folder of Sealgate's source"
