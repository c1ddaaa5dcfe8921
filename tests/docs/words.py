"""Words that are not used in this project, with what to write instead (docs/design.md, "Words").

`python tests/docs/words.py [PATH ...]` lists every place that uses one of them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCOPE = ("ppdiffusers", "docs", "README.md", "CHANGELOG.md", "examples", "benchmarks", "scripts")

# regular expression, without regard to case -> what to write
BANNED = {
    r"pictures?": "image",
    r"paint(s|ed|ing|er)?": "generate, inpaint",
    r"mend(s|ed|ing)?": "fix",
    r"(no|some|any|every)body('s)?": "name the subject",
    r"whoever": "name the subject",
    r"keep away from|kept away|what is avoided|what to avoid|to be avoided": "negative prompt",
    r"so many": "give the number",
    r"in vain": "known missing",
    r"gone on with|go on with|goes on with": "resume",
    r"beside": "next to, in addition to",
    r"stands? (before|behind|above|below|on)": "name the relation",
    r"lies? (in|there|beside|below|above)": "is in",
    r"probes?|probed|probing": "dummy inputs",
    r"checkups?": "diagnostics",
    r"unet_surgery|surgery": "name what is changed",
    r"carriers?": "storage dtype",
    r"\w+_perhaps": "name the condition",
    r"\w*FromPicture\w*|TextGuidedAloneMixin": "stages",
    r"rooms?|houses?": "package, module, space",
    r"thrown (out|away)|throws? (out|away)": "remove",
    r"brings? along|brought along": "pass",
    r"(is|are|was) told|tells? (of|what|which|whether|how|why|apart)": "report, warn, know",
    r"pieces? of text": "prompt, token",
}
# Names and terms of other projects in which a banned word is part of the name.
ALLOWED = (
    r"paint[-_ ]by[-_ ]example",  # a system
    r"repaint",
    r"in-?paint\w*",
    r"out-?paint\w*",
    r"--\w*prompt\"?,? (default=)?\"[^\"]*\"",  # default prompts of scripts
    r"a picture of a \{size\}",  # a caption of the data that the embedded checkpoint was trained on
)
_BANNED = {
    re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", re.IGNORECASE): say for pattern, say in BANNED.items()
}
_ALLOWED = re.compile("|".join(ALLOWED), re.IGNORECASE)


def files(paths: Iterable[str] = SCOPE) -> list[Path]:
    """Tracked text files under these paths."""
    listed = subprocess.run(["git", "ls-files", "-z", *paths], cwd=ROOT, capture_output=True, check=True, text=True)
    suffixes = {".py", ".md", ".sh"}
    return [ROOT / name for name in listed.stdout.split("\0") if Path(name).suffix in suffixes]


def findings(path: Path) -> Iterator[str]:
    """One line for each use of a banned word in a file."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        text = _ALLOWED.sub("", line)
        for pattern, say in _BANNED.items():
            for found in pattern.finditer(text):
                yield f"{path.relative_to(ROOT)}:{number}: {found.group()!r} ({say}): {line.strip()[:100]}"


if __name__ == "__main__":
    found = [line for path in files(sys.argv[1:] or SCOPE) for line in findings(path)]
    print(*found, sep="\n")
    sys.exit(bool(found))
