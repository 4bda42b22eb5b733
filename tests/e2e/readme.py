"""The README's programs, as they stand there."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program(language):
    [text] = re.findall(r"^```%s\n(.*?)^```$" % language, (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return text
