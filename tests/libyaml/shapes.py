"""Writes shapes.json: texts in every layout that YAML has, and what libyaml makes of each.

    pip install pyyaml && python3 tests/libyaml/shapes.py [HOW_MANY [SEED]] > tests/libyaml/shapes.json

`src/yaml/events/tests.rs` compares our parser with these answers. They are committed, so the test needs neither Python nor
a network, and nobody's new version of PyYAML changes what it says. Written with PyYAML 6.0.3 on libyaml 0.2.5.
"""
import json
import random
import sys

import yaml

# What a file of limits looks like, in different hands.
BASES = [
    "domain: shop\ndescriptors:\n  - key: user\n    rate_limit:\n      unit: minute\n      requests_per_unit: 5\n",
    "domain: shop\ndescriptors:\n- key: user\n  value: a b\n  rate_limit: {unit: minute, requests_per_unit: 5}\n- key: b\n",
    "domain: shop\ndescriptors: [\n  {key: user, rate_limit: {unit: day, requests_per_unit: 5}},\n  {key: b}\n]\n",
    '{"domain": "shop", "descriptors": [{"key": "user", "rate_limit": {"unit": "day", "requests_per_unit": 5}}]}\n',
    '{\n  "domain": "shop",\n  "descriptors": [\n    {\n      "key": "user"\n    }\n  ]\n}\n',
    "domain: 'shop'\ndescriptors:\n  - key: agent\n    value: \"alpha\n      beta\"\n    detailed_metric: true\n",
    "# limits\n---\ndomain: shop # ours\ndescriptors:\n  # the first\n  - key: user\n...\n---\ndomain: b\n",
    "a: &x\n  unit: day\n  n: 1\nb: *x\nc:\n  <<: *x\n  n: 2\nd: [*x, &y z, *y]\n",
    "body: |\n  {\"a\": 1}\n\n   more\ntext: >-\n  one\n  two\n\n  three\nkeep: |+\n  x\n\nlast: 1\n",
    "? a\n: b\n? [c, d]\n: - e\n  - - f\n    - g\n- h\n",
    "domain: !!str 5\nn: !!int \"5\"\nt: ! x\nu: !own y\ne: !!str\nl: !!seq [a]\n",
    "domain: shop\nlist:\n-\n  a\n-\n- b: c\n\n- d:\n    e\n    f\n",
]
# A comma right behind a tag.
TAGS = [
    "domain: shop\nlist: [!!str, a, !own, {k: !!seq [], v: !x}, &a !y, *a]\n",
    "{a: !!str, !x : b, c: ! , d: [!<tag:z>, e, !<a,b>, '!f, g'], h: \"!i, j\"} # !k, l\n",
    "- [\n    !x,!y,\n    [!, ?, !z, : ],\n    !x, ]\n- look!, !there, \"a !b, c\"\n- |\n  [!x, y]\n",
]
TAGGED = ["!x,", "!,", "!!str,", "!<b>,", "[!", ", !x", ",", "[", "]", "{", "}", " "]
# What a hand or an editor puts in the place of a space, of a line's end, or anywhere.
BLANKS = ["\t", "  ", " \t", "\t ", "\n", "\n\t", "\n ", " # x\n", ""]
BREAKS = ["\r\n", "\r", "\n\n", "\n\t\n", " \n", "\t\n", "\n  ", " # x\n", "\t# x\n", " ", "\u2028", "\x85", "\n\ufeff"]
ANYWHERE = list("\t:,-?[]{}#&*!|>'\"%@`\\ ") + [": ", " #", "- ", "\n", "\n\n", "'it''s'", '"\\t\\u00fc"', "ü", "😀", "\x00", "\x07", "\x7f", "\\x"]


def change(text, rng):
    """The text with one thing different."""
    kind = rng.randrange(6) if text else 2
    if kind == 0:
        at = [i for i, c in enumerate(text) if c == " "]
        to = BLANKS
    elif kind == 1:
        at = [i for i, c in enumerate(text) if c == "\n"]
        to = BREAKS
    elif kind == 2:
        at, to = list(range(len(text))), ANYWHERE
    elif kind == 3:  # all of one kind at once, as with an editor's setting
        old, new = rng.choice([("\n", "\r\n"), ("\n", "\r"), ("    ", "\t"), ("  ", "\t"), (": ", ":\t"), (": ", " : "), (", ", ","), ("- ", "-   "), ("\n  ", "\n")])
        return text.replace(old, new)
    elif kind == 4:  # one line further in or out
        lines = text.split("\n")
        n = rng.randrange(len(lines))
        by = rng.choice([-4, -2, -1, 1, 2])
        lines[n] = " " * by + lines[n] if by > 0 else lines[n][-by:] if lines[n][:-by].isspace() else lines[n].lstrip()
        return "\n".join(lines)
    else:  # cut off, or a character lost
        n = rng.randrange(len(text))
        return text[:n] if rng.random() < 0.3 else text[:n] + text[n + 1 :]
    if not at:
        return text
    n = rng.choice(at)
    return text[:n] + rng.choice(to) + (text[n:] if to is ANYWHERE else text[n + 1 :])


def pieces(text):
    """What libyaml says of the text: its events, or where it gave up (none where it only says that it did)."""
    told = []
    try:
        for event in yaml.parse(text, Loader=yaml.CLoader):
            name = type(event).__name__.removesuffix("Event")
            if name in ("StreamStart", "StreamEnd", "DocumentEnd"):
                continue
            if name in ("SequenceEnd", "MappingEnd"):
                told.append([name])
                continue
            piece = [name, event.start_mark.line + 1, event.start_mark.column + 1]
            if name == "Scalar":
                tags = ("!", "int", "float", "bool", "null", "merge")
                plain = event.tag.removeprefix("tag:yaml.org,2002:") in tags if event.tag else event.implicit[0]
                piece += [event.value, plain]
            if getattr(event, "anchor", None):
                piece += ["*" if name == "Alias" else "&" + event.anchor]
            told.append(piece)
    except yaml.MarkedYAMLError as error:
        return None, [error.problem_mark.line + 1, error.problem_mark.column + 1, error.problem]
    except yaml.YAMLError:
        return None, []
    return told, None


def tag(text, rng):
    """The text with a tag or a comma more."""
    n = rng.randrange(len(text))
    return text[:n] + rng.choice(TAGGED) + text[n + rng.choice([0, 0, 1]) :]


def shapes(bases, change, how_many, rng):
    """So many texts that come from `bases`, and what libyaml says of each."""
    found = {text: pieces(text) for text in bases}
    refused = 0
    while len(found) < how_many:
        text = rng.choice(bases)
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            text = change(text, rng)
        if not text or text in found:
            continue
        answer = pieces(text)
        # A third of them are refused.
        if answer[0] is None:
            if 3 * refused > len(found):
                continue
            refused += 1
        found[text] = answer
    return found


def main():
    how_many = int(sys.argv[1]) if len(sys.argv) > 1 else 320
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    found = shapes(BASES, change, how_many, random.Random(seed))
    found |= shapes(TAGS, tag, how_many // 4, random.Random(seed))
    rows = [json.dumps({"text": text, "events": told, "refused": why}, separators=(",", ":")) for text, (told, why) in found.items()]
    print("[\n" + ",\n".join(rows) + "\n]")


main()
