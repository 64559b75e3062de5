#!/usr/bin/env python3
"""Renders chat templates through Jinja2, set up by transformers itself, and through Briquette, and compares.

    templates.py [--seed N] [--count N] [--renderer PROGRAM]             templates made up from the seed
    templates.py FOLDER_OR_FILE … [--renderer PROGRAM] [--verbose]       templates of your own: *.jinja, *.json
    templates.py --write-samples                                         templates.json anew, for the ordinary tests

Needs jinja2 and transformers (PyPI) in the Python that runs it. The renderer is the example `render` of the crate
`briquette`; without --renderer it is built and run with cargo. A .json file is a tokenizer_config.json, or any other
with templates under `chat_template`. Exit code 1 if any text differs."""
import argparse
import datetime
import itertools
import json
import pathlib
import random
import subprocess
import sys

from transformers.utils import chat_template_utils

HERE = pathlib.Path(__file__).resolve().parent
SAMPLES = HERE / "templates.json"
SAMPLED = ["user", "system and turns", "odd characters", "thought in the answer; not thinking", "user; tools",
           "a call and more"]
TODAY = datetime.datetime(2026, 3, 7)


class FixedDay(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(TODAY.year, TODAY.month, TODAY.day)


chat_template_utils.datetime = FixedDay


def expected(request):
    """What Jinja2 makes of it: ["text", …] or ["error", …]."""
    variables = dict(request["variables"])
    try:
        texts, _ = chat_template_utils.render_jinja_template(
            [variables.pop("messages")], chat_template=request["template"], **variables)
        return ["text", texts[0]]
    except Exception as error:  # Whatever a template can do wrong.
        return ["error", f"{type(error).__name__}: {error}"]


def rendered(requests, renderer):
    """What Briquette makes of them."""
    command = [renderer] if renderer else ["cargo", "run", "--quiet", "-p", "briquette", "--example", "render"]
    lines = "".join(json.dumps(request | {"day": TODAY.strftime("%Y-%m-%d")}) + "\n" for request in requests)
    run = subprocess.run(command, input=lines.encode(), stdout=subprocess.PIPE, cwd=HERE)
    if run.returncode != 0:
        sys.exit(f"the renderer failed with code {run.returncode}")
    return [json.loads(line) for line in run.stdout.decode().split("\n") if line]


# Conversations -------------------------------------------------------------------------------------------------------

def say(role, content, **more):
    return {"role": role, "content": content, **more}


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather at a place: \"now\" or <later>, in °C & °F.",
    "parameters": {"type": "object", "properties": {
        "place": {"type": "string", "description": "City, and country"},
        "days": {"type": "integer", "default": 3, "minimum": 1, "maximum": 1e3},
        "units": {"type": ["string", "null"], "enum": ["C", "F"]},
        "extra": {"type": "array", "items": {"type": "string"}}}, "required": ["place"]}}}
CALL = {"id": "call00001", "type": "function",
        "function": {"name": "get_weather", "arguments": {"place": "Zürich", "days": 1.5}}}
ODD = "  \tLeading, trailing\n\n \"quotes\" 'both' \\n {{ braces }} {% tags %} <b>&amp;</b> naïve 漢字 🎲 "

CONVERSATIONS = {
    "user": [say("user", "Why is the sky blue?")],
    "system": [say("system", "You are terse."), say("user", "Hello!")],
    "turns": [say("user", "2 + 2?"), say("assistant", "4"), say("user", "And 3 + 3?")],
    "system and turns": [say("system", "Be kind.\n"), say("user", "Hi"), say("assistant", "Hello.\n"),
                         say("user", "Bye"), say("assistant", "See you"), say("user", "Wait")],
    "odd characters": [say("user", ODD), say("assistant", ODD), say("user", ODD)],
    "odd system": [say("system", ODD), say("user", "x")],
    "empty": [say("user", "")],
    "thought in the answer": [say("user", "2 + 2?"), say("assistant", "<think>\nTwo and two.\n</think>\n\n4"),
                              say("user", "Sure?")],
    # Under both names, as transformers hands it to templates.
    "thought beside the answer": [say("user", "2 + 2?"), {"thinking": "Two and two."} | say("assistant", "4")
                                  | {"reasoning_content": "Two and two."}, say("user", "Sure?")],
    "ends with the answer": [say("user", "Count."), say("assistant", "1, 2")],
    "two users": [say("user", "a"), say("user", "b")],
    "system last": [say("user", "a"), say("system", "b")],
    "content in parts": [say("user", [{"type": "text", "text": "Hello"}, {"type": "text", "text": " there"}])],
}
VARIANTS = {
    "": {}, "no generation prompt": {"add_generation_prompt": False},
    "thinking": {"enable_thinking": True}, "not thinking": {"enable_thinking": False},
    "tools": {"tools": [WEATHER]},
}


def variables(messages, **more):
    return {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": True,
            "bos_token": "<s>", "eos_token": "</s>", **more}


def conversations():
    """Names and variables of all that a template is tried with."""
    for name, messages in CONVERSATIONS.items():
        for variant, more in VARIANTS.items():
            yield f"{name}; {variant}" if variant else name, variables(messages, **more)
    called = [say("user", "Weather?"), say("assistant", "", tool_calls=[CALL]),
              say("tool", "{\"sky\": \"grey\"}", tool_call_id="call00001", name="get_weather"), say("user", "Thanks")]
    yield "a call", variables(called[:3], tools=[WEATHER])
    yield "a call and more", variables(called, tools=[WEATHER])


# Templates of one's own ----------------------------------------------------------------------------------------------

def templates_in(path):
    path = pathlib.Path(path)
    if path.is_dir():
        for child in sorted(path.rglob("*")):
            if child.suffix in (".jinja", ".j2", ".json"):
                yield from templates_in(child)
    elif path.suffix == ".json":
        for nth, template in enumerate(templates_under(json.loads(path.read_text(encoding="utf-8")))):
            yield f"{path}#{nth}", template
    else:
        with open(path, encoding="utf-8", newline="") as file:
            yield str(path), file.read()


def templates_under(value):
    if isinstance(value, dict):
        for key, child in value.items():
            if key in ("chat_template", "template") and isinstance(child, str):
                yield child
            else:
                yield from templates_under(child)
    elif isinstance(value, list):
        for child in value:
            yield from templates_under(child)


# Templates made up ---------------------------------------------------------------------------------------------------

TEXTS = ["message.content", "message['role']", "message.role", "messages[-1].content", "messages[0]['content']",
         "bos_token", "eos_token", "'<|im_start|>'", "\"it's\\n\"", "'[INST] '", "text", "'a-b_c'"]
TO_TEXT = ["{} | trim", "{}.strip()", "{}.lstrip('\\n')", "{}.rstrip()", "{} | upper", "{}.title()", "{} | capitalize",
           "{}.replace('a', 'b')", "{}.replace('e', '', 1)", "{} | replace('o', '0')", "{}.split('</think>')[-1]",
           "{}.split(' ', 1)[0]", "{}.rsplit(' ', 1)[-1]", "{}.partition(' ')[2]", "{}.rpartition(' ')[0]",
           "{}.removeprefix('<s>')", "{}.removesuffix('.')", "{}[:7]", "{}[::-1]", "{}[-3:]", "{}[1:-1:2]", "'%s!' % {}",
           "'%-9s|%3d' % ({}, 7)", "'{{}}-{{x}}'.format({}, x=1)", "{} ~ 1 ~ none", "{} + 'z'", "{} | tojson",
           "{} | tojson(ensure_ascii=true)", "[{0}, 1] | tojson(indent=2)", "{{'k': {}}} | tojson", "{} | default('d', true)",
           "{}.splitlines() | join('/')", "{} | indent(2, true)", "{}.zfill(9)", "{}.ljust(8, '.')", "{}.center(9)",
           "{} | first", "({} or 'none')", "('x' if {} else 'y')", "{} * 2", "{}.swapcase()", "{} | string",
           "[{}, 'b'] | sort | join(',')", "{} | list | reverse | join", "{}.join(['1', '2'])", "({})"]
NUMBERS = ["loop_index", "3", "0", "-2", "messages | length", "{t} | length", "{t}.find('e')", "{t}.count('l')", "{n} + 2",
           "{n} * {n}", "({n} - 7) % 3", "{n} // 2", "({n} if {b} else 4)", "[1, {n}] | max", "'12' | int", "{n} | abs"]
TRUTHS = ["message.role == 'user'", "{t} is string", "{t} is sequence", "{t} is iterable", "{t} is mapping", "message is mapping",
          "tools is none", "tools is not none", "documents is none", "nothing is defined", "not {b}",
          "({b} and {b})", "({b} or {b})", "'e' in {t}", "'z' not in {t}", "{t}.startswith(('H', '<'))", "{t}.endswith('?')",
          "{n} > 1", "1 < {n} <= 4", "{n} % 2 == 0", "{n} is odd", "{n} is number", "{t}.isdigit()", "{t} is none",
          "message.nothing is defined", "enable_thinking is defined and enable_thinking", "{n} in [1, 2]",
          "messages | selectattr('role', 'equalto', 'user') | list | length > 1", "strftime_now is defined"]
VALUES = ["[{t}, {n}, {b}, none, 1.5]", "{{'a': {t}, 'b': [{n}]}}", "({t}, {n})", "{t}.split()", "{n}", "{b}", "{t}",
          "messages | map(attribute='role') | join(', ')", "message.keys() | list", "range({n}) | list",
          "strftime_now('%d %B %Y')", "namespace(a={n}).a", "messages[1:] | length", "{{'z': 1, 'y': {n}}} | dictsort"]


class Maker:
    """Makes templates in the manner of published ones."""
    def __init__(self, seed):
        self.random = random.Random(seed)

    def text(self, depth=2):
        text = self.random.choice(TEXTS)
        for _ in range(self.random.randrange(depth + 1)):
            # A filter or an operator would bind otherwise than a call behind it.
            text = self.random.choice(TO_TEXT).format(text if text.isidentifier() else f"({text})")
        return text

    def fill(self, choices, depth):
        form = self.random.choice(choices)
        while depth <= 0 and "{n}" + "{b}" != form and any(hole in form for hole in ("{n}", "{b}")):
            form = self.random.choice(choices)
        parts = {"t": lambda: f"({self.text(1)})", "n": lambda: f"({self.number(depth - 1)})",
                 "b": lambda: f"({self.truth(depth - 1)})"}
        out = form.replace("{{", "\0").replace("}}", "\1")
        for hole, part in parts.items():
            while "{" + hole + "}" in out:
                out = out.replace("{" + hole + "}", part(), 1)
        return out.replace("\0", "{").replace("\1", "}")

    def number(self, depth=2):
        return self.fill(NUMBERS, depth)

    def truth(self, depth=2):
        return self.fill(TRUTHS, depth)

    def tag(self, body, marks="{}"):
        left, right = (self.random.choice(["", "", "-", "+"]) for _ in range(2))
        return f"{marks[0]}{'%' if marks == '{}' else ''}{left} {body} {right}{'%' if marks == '{}' else ''}{marks[1]}"

    def shown(self):
        value = self.text(3) if self.random.random() < 0.6 else self.fill(VALUES, 2)
        left, right = self.random.choice(["", "-"]), self.random.choice(["", "-"])
        return "{{" + f"{left} {value} {right}" + "}}"

    def space(self):
        return self.random.choice(["", "", "\n", "\n  ", " ", "\n\n", "\t", "\r\n", " x\n", "<|eot|>"])

    def body(self, depth):
        return "".join(self.space() + self.statement(depth) for _ in range(self.random.randrange(1, 4))) + self.space()

    def statement(self, depth):
        kind = self.random.randrange(12) if depth > 0 else 0
        tag = self.tag
        if kind == 1:
            other = tag("else") + self.body(depth - 1) if self.random.random() < 0.5 else ""
            return tag(f"if {self.truth()}") + self.body(depth - 1) + other + tag("endif")
        if kind == 2:
            leave = self.random.choice(["break", "continue"])
            return (tag("for item in [1, 2, 3, 4]") + tag(f"if item == {self.number(1)}") + tag(leave) + tag("endif")
                    + "{{ item }}{{ loop.last }}" + self.body(depth - 1) + tag("endfor"))
        if kind == 3:
            return tag(f"set text = {self.text()}") + self.shown()
        if kind == 4:
            return tag("generation") + self.body(depth - 1) + tag("endgeneration")
        if kind == 5:
            return tag("set block") + self.body(depth - 1) + tag("endset") + "{{ block | trim }}"
        if kind == 6:
            return tag(f"set ns.seen = {self.number()}") + "{{ ns.seen }}"
        if kind == 7:
            return "{{ show(" + self.text() + ", more=" + self.number(1) + ") }}"
        if kind == 8:
            return self.random.choice(["{# a comment #}", "{#- and\nanother -#}", "{% raw %}{{ raw }}{% endraw %}"])
        if kind == 9:
            return (tag("for key, value in {'a': 1, 'b': message.role}.items()") + "{{ key }}={{ value }}{{ sep() }}"
                    + self.space() + tag("endfor"))
        if kind == 10:
            return tag(f"filter {self.random.choice(['upper', 'trim', 'indent(2)'])}") + self.body(0) + tag("endfilter")
        return self.shown()

    def template(self):
        tag = self.tag
        start = (tag("set ns = namespace(seen=0)") + tag("set text = 'none yet'") + tag("set loop_index = 0")
                 + tag("set message = messages[0]") + tag("set sep = joiner(', ')")
                 + tag("macro show(value, more=2)") + "[{{ value }}:{{ more }}]" + tag("endmacro"))
        return (start + self.space() + tag("for message in messages") + tag("set loop_index = loop.index")
                + self.body(3) + tag("endfor") + self.space() + self.body(1)
                + tag("if add_generation_prompt") + "<|im_start|>assistant\n" + tag("endif") + self.space())


def made_up(seed, count):
    for nth in range(count):
        yield f"seed {seed} template {nth}", Maker(f"{seed}/{nth}").template()


# Samples for the ordinary tests --------------------------------------------------------------------------------------

def write_samples():
    """What Jinja2 makes of the templates beside this script, and of some that are made up."""
    every = dict(conversations())
    cases = [(template, case) for _, template in templates_in(HERE / "templates") for case in SAMPLED]
    cases += [(template, "thought in the answer") for _, template in made_up(0, 40)]
    samples = []
    for template, case in cases:
        kind, text = expected({"template": template, "variables": every[case]})
        if kind == "text":
            samples.append({"template": template, "variables": every[case], "text": text})
    lines = ",\n".join(json.dumps(sample, ensure_ascii=False) for sample in samples)
    SAMPLES.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"{len(samples)} samples in {SAMPLES}")


# The comparison --------------------------------------------------------------------------------------------------------

def compare(pairs, arguments):
    """pairs: (name, request). Prints what differs; returns whether all is alike."""
    pairs = list(pairs)
    answers = rendered([request for _, request in pairs], arguments.renderer)
    differing, refused, lenient = {}, 0, 0
    for (name, request), got in zip(pairs, answers, strict=True):
        want = expected(request)
        refused += want[0] == "error" and got[0] == "error"
        lenient += want[0] == "error" and got[0] == "text"
        if want[0] == "error" or want == got:
            continue
        file, _, case = name.partition(": ")
        shown = differing.setdefault(file, [])
        shown.append(case)
        if arguments.verbose or len(shown) == 1:
            print(f"DIFFERS {name}\n  Jinja2    {want[1]!r}\n  Briquette {got[1]!r}")
    files = {name.partition(": ")[0] for name, _ in pairs}
    print(f"{len(files) - len(differing)} of {len(files)} templates alike, in {len(pairs)} renderings; "
          f"{refused} refused by both, {lenient} by Jinja2 only")
    return not differing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300, help="templates to make up [default: 300]")
    parser.add_argument("--renderer", help="the built example [default: through cargo]")
    parser.add_argument("--verbose", action="store_true", help="show all that differs, not the first of a template")
    parser.add_argument("--write-samples", action="store_true")
    arguments = parser.parse_args()
    if arguments.write_samples:
        return write_samples()
    if arguments.paths:
        templates = itertools.chain.from_iterable(map(templates_in, arguments.paths))
    else:
        templates = made_up(arguments.seed, arguments.count)
    pairs = ((f"{name}: {case}", {"template": template, "variables": values})
             for name, template in templates for case, values in conversations())
    sys.exit(not compare(pairs, arguments))


if __name__ == "__main__":
    main()
