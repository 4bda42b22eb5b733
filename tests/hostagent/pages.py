"""The pages of the public HTTP API, read: each curl as it stands there, with the status and the body that its page promises.

Nothing of them is written down here, so that a page that changes changes the test. SHARED names the folder that has them
below `api/`; without it, `shared/` beside the checkout.
"""

import dataclasses
import json
import os
import pathlib
import re
import shlex

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = pathlib.Path(os.environ.get("SHARED") or ROOT.parent / "shared") / "api"

CURL = re.compile(r"^curl \S", re.MULTILINE)
OBJECT = re.compile(r"^\{", re.MULTILINE)
FIELD = re.compile(r"^(\w+)\n(string|integer|boolean|object|binary)(\[\])?\n", re.MULTILINE)
PHRASE = re.compile(r"\b(2\d\d) (?:OK|Created|Accepted|No Content)\b")
SECTION = re.compile(r"^(2\d\d) — ", re.MULTILINE)
ERROR = re.compile(r"^([45]\d\d)(.*)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Example:
    """One curl of a page. `body` is what the page shows as its answer; None where it says that there is none."""

    page: str
    number: int
    command: str
    status: int
    body: object
    fields: dict = dataclasses.field(hash=False)

    @property
    def name(self):
        return "%s-%d" % (self.page, self.number)

    @property
    def words(self):
        return shlex.split(self.command.replace("\\\n", " "))

    @property
    def path(self):
        """Below the capsule, or of the collection itself: `files/list`, `capsules`."""
        [url] = [word for word in self.words if word.startswith("https://")]
        return re.sub(r".*/capsules/[^/]+/", "", url).rpartition("/v1/")[-1]

    @property
    def request(self):
        """The JSON that it sends, or its form's fields as a dict."""
        words = self.words
        values = [words[i + 1] for i, word in enumerate(words) if word in ("-d", "--data", "-F")]
        return json.loads(values[0]) if "-F" not in words else dict(value.split("=", 1) for value in values)


class Page:
    def __init__(self, path):
        self.name, self.text = path.stem, path.read_text()
        self.spans = [(match.start(), self.end_of_command(match.start())) for match in CURL.finditer(self.text)]
        self.objects = list(self.find_objects())
        # What the page says of each field of a body, by name: (type, its sentence).
        self.fields = {match[1]: (match[2] + (match[3] or ""), self.text[match.end():].split("\n\n")[0])
                       for match in FIELD.finditer(self.text)}
        # The page's table of errors: code → its sentences.
        self.errors = {}
        for code, meaning in ERROR.findall(self.text):
            self.errors.setdefault(int(code), meaning)

    def end_of_command(self, start):
        """A command goes on while a quote is open or its line ends with a backslash."""
        end = start
        while True:
            end = self.text.find("\n", end + 1)
            end = len(self.text) if end < 0 else end
            try:
                shlex.split(self.text[start:end])
                return end
            except ValueError:
                if end == len(self.text):
                    raise

    def find_objects(self):
        """(offset, value) of each JSON object that stands by itself."""
        for match in OBJECT.finditer(self.text):
            if not any(start < match.start() < end for start, end in self.spans):
                yield match.start(), json.JSONDecoder().raw_decode(self.text, match.start())[0]

    def examples(self):
        for i, (start, end) in enumerate(self.spans):
            following = self.spans[i + 1][0] if i + 1 < len(self.spans) else len(self.text)
            bare = Example(self.name, i + 1, self.text[start:end].rstrip(), 0, None, self.fields)
            # Some pages repeat below a curl the body that it sends.
            answers = [(at, value) for at, value in self.objects if value != bare.request]
            body = next((value for at, value in answers if end <= at < following),
                        next((value for at, value in reversed(answers) if at < start), None))
            status = self.status(start, end, following, body)
            yield dataclasses.replace(bare, status=status, body=None if status == 204 else body)

    def status(self, start, end, following, body):
        """Told in words after the curl, else before it; or by the section that lists the answer's fields."""
        said = PHRASE.search(self.text, end, following) or (PHRASE.findall(self.text[:start]) or [None])[-1]
        if said:
            return int(said if isinstance(said, str) else said[1])
        sections = [(match.start(), int(match[1])) for match in SECTION.finditer(self.text)]
        for (at, code), (until, _) in zip(sections, sections[1:] + [(start, 0)]):
            if set(body) <= {match[1] for match in FIELD.finditer(self.text, at, until)}:
                return code
        raise ValueError("%s: no status for the curl at %d" % (self.name, start))


def pages():
    """Empty where the pages aren't there."""
    return [Page(path) for path in sorted(FOLDER.glob("*.txt"))]


def examples():
    return [example for page in pages() for example in page.examples()]


def snippet(page):
    """The page's Python: from its import to the last line that is code."""
    lines = page.text[page.text.index("from wrenn import"):].split("\n")
    code = [lines[0]]
    for line in lines[1:]:
        if line and not re.match(r"[ )\]#]|with |capsule|print|\w+ = ", line):
            break
        code.append(line)
    return "\n".join(code) + "\n"
