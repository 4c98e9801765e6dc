#!/usr/bin/env python3
"""Random Jinja expressions and statements, rendered by Python's jinja2 and by Quire, compared as texts.

    jinja_fuzz.py PROGRAM COUNT [SEED]

PROGRAM reads a line of JSON {"template": ..., "context": {...}} and answers a line {"output": ...} or {"error": ...}.
Differences are printed. Where Python raises, Quire must raise; messages are not compared. Left out: what prints
addresses (generators, methods), and integers beyond 128 bits, which Quire refuses.
"""

import json
import random
import re
import subprocess
import sys

import jinja_oracle

CONTEXT = {
    "s": "Hello, Wörld", "t": "  pad\tded\n", "e": "", "u": "straße ΑΣ ﬁ İ😀e\u0301", "n": 7, "z": 0, "m": -3, "f": 2.5, "g": -0.0,
    "big": 1e22, "tiny": 1.5e-7, "yes": True, "no": False, "nil": None, "l": [3, 1, 2], "ls": ["b", "A", "c", "a"],
    "mix": [1, "a", None, 2.0, True], "d": {"a": 1, "B": 2, "items": 5, "k": [1, {"x": "y"}]}, "dd": {"b": {"n": 1}, "a": {"n": 2}},
    "rows": [{"n": 2, "s": "x", "t": True}, {"n": 1, "s": "Y", "t": False}, {"n": 2, "s": "z"}], "html": "<a href='x'>&\"</a>",
    "num": "42", "hex": "0x1F", "fl": " 3.75 ", "lines": "one\ntwo\r\n\nthree\x0bfour\u2028five", "csv": "a,b,,c", "nest": [[1, 2], [3, [4]], []],
}
NAMES = [*CONTEXT, "missing"]
STRINGS = ["''", "'a'", "'l'", "', '", "'ab'", "'%s'", "'{}'", "'%d-%s'", "'{:>8}|{!r}'", "'A b c'", "'\\n'", "'é'", "'x.y'", "'n'", "'B'"]
NUMBERS = ["0", "1", "2", "-1", "3", "10", "0.5", "1.0", "-2.5", "1e3", "100", "true", "false", "none"]
METHODS = [
    ("upper", 0, 0), ("lower", 0, 0), ("title", 0, 0), ("capitalize", 0, 0), ("strip", 0, 1), ("lstrip", 0, 1), ("rstrip", 0, 1),
    ("split", 0, 2), ("rsplit", 0, 2), ("splitlines", 0, 1), ("startswith", 1, 2), ("endswith", 1, 2), ("replace", 2, 3), ("find", 1, 3),
    ("rfind", 1, 2), ("index", 1, 2), ("count", 1, 2), ("join", 1, 1), ("format", 0, 3), ("isdigit", 0, 0), ("isalpha", 0, 0), ("isalnum", 0, 0),
    ("isspace", 0, 0), ("isupper", 0, 0), ("islower", 0, 0), ("istitle", 0, 0), ("isnumeric", 0, 0), ("isdecimal", 0, 0), ("isidentifier", 0, 0),
    ("zfill", 1, 1), ("center", 1, 2), ("ljust", 1, 2), ("rjust", 1, 2), ("partition", 1, 1), ("rpartition", 1, 1), ("removeprefix", 1, 1),
    ("removesuffix", 1, 1), ("swapcase", 0, 0), ("casefold", 0, 0), ("expandtabs", 0, 1), ("get", 1, 2), ("items", 0, 0), ("keys", 0, 0),
    ("values", 0, 0), ("copy", 0, 0), ("append", 1, 1), ("pop", 0, 1), ("update", 1, 1), ("isascii", 0, 0), ("isprintable", 0, 0),
]
FILTERS = [
    ("upper", 0, 0), ("lower", 0, 0), ("title", 0, 0), ("capitalize", 0, 0), ("trim", 0, 1), ("length", 0, 0), ("count", 0, 0), ("first", 0, 0),
    ("last", 0, 0), ("join", 0, 2), ("list", 0, 0), ("sort", 0, 3), ("unique|list", 0, 0), ("reverse|list", 0, 0), ("string", 0, 0), ("int", 0, 2),
    ("float", 0, 1), ("abs", 0, 0), ("round", 0, 2), ("replace", 2, 3), ("default", 0, 2), ("d", 1, 2), ("tojson", 0, 2), ("dictsort", 0, 1),
    ("items|list", 0, 0), ("indent", 0, 3), ("safe", 0, 0), ("e", 0, 0), ("escape", 0, 0), ("forceescape", 0, 0), ("batch(2)|list", 0, 0),
    ("batch(2, 'x')|list", 0, 0), ("slice(2)|list", 0, 0), ("slice(3, 0)|list", 0, 0), ("sum", 0, 0), ("min", 0, 0), ("max", 0, 0), ("wordcount", 0, 0),
    ("format", 0, 3), ("center", 0, 1), ("truncate(5, true, '..', 0)", 0, 0), ("truncate(8)", 0, 0), ("truncate(6, false, '-', 1)", 0, 0),
    ("map('upper')|list", 0, 0), ("map('string')|join('-')", 0, 0), ("map(attribute='n')|list", 0, 0), ("map(attribute='s', default='?')|list", 0, 0),
    ("select|list", 0, 0), ("reject|list", 0, 0), ("select('string')|list", 0, 0), ("select('gt', 1)|list", 0, 0), ("selectattr('t')|list", 0, 0),
    ("selectattr('n', 'eq', 2)|list", 0, 0), ("rejectattr('t', 'defined')|list", 0, 0), ("rejectattr('s', 'in', ['x'])|list", 0, 0),
    ("groupby('n')", 0, 0), ("groupby('s')", 0, 0), ("groupby('t', default=false)", 0, 0), ("sort(attribute='n')", 0, 0), ("sort(attribute='n,s')", 0, 0),
    ("sort(true, attribute='s')", 0, 0), ("sum(attribute='n')", 0, 0), ("max(attribute='n')", 0, 0), ("tojson(indent=2)", 0, 0),
    ("tojson(sort_keys=true)", 0, 0), ("tojson(ensure_ascii=true)", 0, 0), ("tojson(separators=(',', ':'))", 0, 0), ("tojson(indent=1, separators=(';', '='))", 0, 0),
    ("attr('upper')()", 0, 0), ("urlencode", 0, 0), ("filesizeformat", 0, 1), ("dictsort(by='value')", 0, 0), ("dictsort(true, reverse=true)", 0, 0),
    ("round(1, 'ceil')", 0, 0), ("round(-1)", 0, 0), ("round(method='floor')", 0, 0), ("min(true)", 0, 0),
]
TESTS = [
    "defined", "undefined", "none", "string", "number", "integer", "float", "mapping", "sequence", "iterable", "boolean", "true", "false", "odd",
    "even", "divisibleby 2", "divisibleby(3)", "eq 1", "ne('a')", "lt 2", "gt(1)", "ge 1", "le 2.5", "in [1, 'a']", "in('abc')", "callable", "lower", "upper",
    "sameas(none)", "escaped", "equalto 'a'", "filter", "test", "not none", "not defined", "not in l",
]
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, options):
        return self.random.choice(options)

    def arguments(self, depth, least, most):
        return ", ".join(self.expression(depth - 1) for _ in range(self.random.randint(least, most)))

    def atom(self):
        kind = self.random.random()
        if kind < 0.55:
            return self.pick(NAMES)
        return self.pick(STRINGS) if kind < 0.8 else self.pick(NUMBERS)

    def expression(self, depth):
        if depth <= 0:
            return self.atom()
        inner = depth - 1
        kind = self.random.randrange(16)
        if kind < 3:
            return f"{self.expression(inner)} {self.pick(BINARY)} {self.expression(inner)}"
        if kind == 3:
            return f"({self.expression(inner)})"
        if kind < 7:
            name, least, most = self.pick(FILTERS)
            arguments = self.arguments(inner, least, most)
            return f"{self.expression(inner)}|{name}" + (f"({arguments})" if arguments else "")
        if kind < 10:
            name, least, most = self.pick(METHODS)
            base = self.pick([self.pick(NAMES), f"({self.expression(inner)})"])
            return f"{base}.{name}({self.arguments(inner, least, most)})"
        if kind == 10:
            return f"({self.expression(inner)} is {self.pick(TESTS)})"
        if kind == 11:
            return f"{self.pick(NAMES)}{self.subscript(inner)}"
        if kind == 12:
            return f"[{self.arguments(depth, 0, 3)}]"
        if kind == 13:
            return f"({self.expression(inner)} if {self.expression(inner)} else {self.expression(inner)})"
        if kind == 14:
            return self.pick(["not ", "-", "+"]) + self.expression(inner)
        return "{" + ", ".join(f"{self.atom()}: {self.expression(inner)}" for _ in range(self.random.randint(0, 2))) + "}"

    def subscript(self, depth):
        kind = self.random.randrange(4)
        if kind == 0:
            return "." + self.pick(["a", "items", "k", "x", "n", "0", "1"])
        if kind == 1:
            return f"[{self.expression(depth)}]"
        bounds = [self.pick(["", "0", "1", "-1", "2", "-3", "5", "-20", "20"]) for _ in range(2)]
        return f"[{':'.join(bounds)}]" if kind == 2 else f"[{':'.join(bounds)}:{self.pick(['1', '2', '-1', '-2'])}]"

    def statement(self, depth):
        kind = self.random.randrange(14)
        space = self.pick(["", "", "-", "+"]), self.pick(["", "", "-"])
        name = self.pick(["a", "b", "x", "s", "n"])
        body = "".join(self.piece(depth - 1) for _ in range(self.random.randint(0, 3))) if depth > 0 else self.text()
        begin, end = f"{{%{space[0]} ", f" {space[1]}%}}"
        if kind < 2:
            return f"{begin}set {name} = {self.expression(2)}{end}"
        if kind == 2:
            return f"{begin}set {name}{self.pick(['', ' | upper', ' | trim | indent(2)'])}{end}{body}{begin}endset{end}"
        if kind < 6:
            condition = self.expression(1)
            other = self.pick(["", f"{begin}else{end}{self.text()}", f"{begin}elif {self.atom()}{end}{body}{begin}else{end}{self.piece(depth - 1)}"])
            return f"{begin}if {condition}{end}{body}{other}{begin}endif{end}"
        if kind < 9:
            target = self.pick(["x", "x", "a", "a, b"])
            over = self.pick(["l", "ls", "rows", "d", "d.items()", "u", "nest", "range(3)", "l|select('gt', 1)", "dd|dictsort", self.expression(1)])
            extra = self.pick(["", "", "", " if x", " if loop", " if x != 1"])
            inside = self.pick(["", "{{ loop.index }}", "{{ loop.last }}", "{{ loop.cycle(1, 2) }}", "{{ loop.previtem }}", "{{ loop.nextitem is defined }}",
                                "{{ loop.length }}", "{{ loop.revindex0 }}", "{{ loop.changed(x) }}", "{% break %}", "{% continue %}", "{% if loop.first %}{% continue %}{% endif %}"])
            other = self.pick(["", f"{begin}else{end}{self.text()}"])
            return f"{begin}for {target} in {over}{extra}{end}{inside}{body}{{{{ x }}}}{other}{begin}endfor{end}"
        if kind == 9:
            return f"{begin}macro f(x, y={self.atom()}){end}{body}{{{{ x }}}}{self.pick(['', '{{ varargs }}', '{{ kwargs }}', '{{ caller() }}'])}{begin}endmacro{end}"
        if kind == 10:
            return "{{ f(" + self.pick(["1", "1, 2", "y=3", "1, 2, 3", "x=1, z=2", "*l", "**d"]) + ") }}"
        if kind == 11:
            return f"{begin}filter {self.pick(['upper', 'trim', 'replace(1, 2)', 'indent(3, true)|title'])}{end}{body}{begin}endfilter{end}"
        if kind == 12:
            return f"{begin}with {name} = {self.expression(1)}, b = {name}{end}{body}{{{{ {name} }}}}{begin}endwith{end}"
        return self.pick([f"{begin}call f(1){end}{body}{begin}endcall{end}", "{#- c -#}", "{# c #}\n", "{% raw -%} {{ x }} {%- endraw %}",
                          f"{begin}generation{end}{body}{begin}endgeneration{end}", "{% set ns = namespace(a=1) %}{% set ns.a = ns.a + 1 %}{{ ns.a }}"])

    def text(self):
        return self.pick(["", " ", "\n", "  \n  ", "text", " a\n", "\n  b", "é\u00a0", "{", "\t"])

    def piece(self, depth):
        kind = self.random.randrange(5)
        if kind < 2:
            return self.text()
        if kind == 2 or depth < 0:
            sign = self.pick(["", "", "-"])
            return f"{{{{{sign} {self.pick([self.expression(1), 'a', 'b', 'x', 'n'])} {self.pick(['', '-'])}}}}}"
        return self.statement(depth)

    def template(self):
        if self.random.random() < 0.6:
            return f"{{{{ {self.expression(self.random.randint(1, 4))} }}}}"
        return "".join(self.piece(2) for _ in range(self.random.randint(1, 5)))


ADDRESS = re.compile(r"0x[0-9a-f]{6,}|<built-in|<function|<generator|object at|bound method|reverseiterator|<class")


def main():
    program, count = sys.argv[1], int(sys.argv[2])
    maker = Maker(int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    env = jinja_oracle.environment()
    process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    differences = skipped = raised = 0
    for _ in range(count):
        template = maker.template()
        expected = jinja_oracle.render(env, template, CONTEXT)
        if expected is not None and (ADDRESS.search(expected) or len(expected) > 100_000):
            skipped += 1
            continue
        process.stdin.write(json.dumps({"template": template, "context": CONTEXT}) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        raised += expected is None
        if answer.get("output") != expected and "128 bits" not in answer.get("error", ""):
            differences += 1
            print(f"{template!r}\n  python {expected!r}\n  quire  {answer.get('output', answer.get('error'))!r}")
    print(f"{count} templates, {raised} raise in Python, {skipped} skipped, {differences} differences")
    sys.exit(differences > 0)


if __name__ == "__main__":
    main()
