"""Writes random chat templates from the expressions and statements that Regroup knows, mostly with fitting types."""

TEXTS = ["'a b'", "'Hello, World'", '"x\\ny"', "''", "'  pad\\t'", "'äß Ü'", "'a,b,,c'", "'12'", "' -3.5 '", "'it\\'s'", "'<b>&'", "'AbC dEf-gh (ij'"]
TEXT_NAMES = ["word", "line", "m.role", "m['content']", "bos_token", "tree.name", "words[0]", "messages[0].content", "key", "messages[-1]['role']"]
NUMBERS = ["0", "1", "2", "7", "-3", "2.5", "10", "0.1", "n", "f", "messages|length", "words|length", "true", "loop.index", "loop.revindex0"]
LISTS = ["words", "numbers", "[1, 2, 3]", "['b', 'A', 'c', 'a']", "[]", "(1, 'x')", "('a',)", "range(4)", "range(5, 1, -2)", "messages", "[[1, 'b'], [0, 'a']]",
         "tree.items()|list", "tree.keys()|list", "[none, true, 1.0, 'x', {'k': [1.5]}]", "mixed"]  # fmt: skip
MAPPINGS = ["tree", "m", "{'a': 1, 'b': [2, 3], 'c': 'x'}", "{}", "messages[0]", "{'B': 2, 'a': word}", "dict(x=1, y='z')", "tree.inner"]
ANY = ["missing", "none", "true", "false", "missing2", "tree.nothing", "m['nope']", "words[99]", "tree", "mixed[3]"]
TEXT_FILTERS = ["trim", "upper", "lower", "title", "capitalize", "string", "replace('a', 'x')", "replace('', '-')", "replace(' ', '', 1)", "default('d')", "default('', true)",
                "trim('a ')", "tojson", "indent", "indent(2, true)", "indent(width=3, blank=true)", "reverse", "join('-')", "string|length", "list|join", "first", "last"]  # fmt: skip
TEXT_METHODS = [".strip()", ".lstrip()", ".rstrip('b \\n')", ".upper()", ".lower()", ".title()", ".replace('l', 'L')", ".replace('b', '', 1)", ".split()|join('|')", ".split(',')[-1]",
                ".split(' ', 1)[0]", ".rsplit('l', 1)[0]", "[::-1]", "[1:]", "[:-1]", "[-3:]", "[::2]", "[5:1:-1]", "[0]", "[-1]", ".splitlines()|length", ".capitalize()",
                ".lstrip('a').rstrip('d')", ".removeprefix('a')", ".removesuffix('d')", "|list|length", "[99]", "[2:99]"]  # fmt: skip
LIST_FILTERS = ["first", "last", "length", "join(', ')", "list", "reverse|list", "unique|list", "tojson", "map('string')|list", "map('upper')|join(' ')", "select|list",
                "reject('equalto', 1)|list", "select('string')|list", "reject('none')|list", "map('length')|list", "select('in', [1, 2, 'a'])|list", "map('default', 'q')|join",
                "select('odd')|list", "max", "min", "sort|list", "sort(reverse=true)", "sort(case_sensitive=true)|join", "sum", "string", "count", "map('tojson')|join(';')"]  # fmt: skip
MESSAGE_FILTERS = ["map(attribute='role')|list", "selectattr('role', 'equalto', 'user')|list|length", "rejectattr('role', 'eq', 'user')|map(attribute='content')|join('/')",
                   "selectattr('content')|list|length", "selectattr('tool_calls', 'defined')|list", "map(attribute='name', default='?')|join(',')", "join('+', attribute='role')",
                   "selectattr('content', 'string')|first", "sort(attribute='role')|map(attribute='role')|join", "selectattr('role', 'in', ['user', 'x'])|list|count",
                   "groupby('role')|list"]  # fmt: skip
MAPPING_FILTERS = ["items|list", "dictsort", "dictsort(true, 'key', true)", "dictsort(by='value')|length", "length", "list", "tojson", "tojson(indent=2)", "tojson(sort_keys=true)",
                   "tojson(separators=(',', ':'))", "tojson(indent=1, ensure_ascii=true)", "first", "string", "default({})|length", "join(',')"]  # fmt: skip
MAPPING_METHODS = [".get('a')", ".get('nope', 'other')", ".get('name')", ".items()|list", ".keys()|list|sort", ".values()|list|length", "['a']", ".a", ".b[0]", "['items']()|list", ".inner.x",
                   ".items()|length", ".keys()|join('.')"]  # fmt: skip
NUMBER_FILTERS = ["abs", "string", "int", "float", "round", "round(1)", "round(1, 'floor')", "round(method='ceil')", "default(3)", "tojson", "int|string|length"]
TESTS = ["defined", "undefined", "none", "string", "mapping", "sequence", "iterable", "number", "integer", "float", "boolean", "true", "false", "odd", "even", "divisibleby 2",
         "equalto 1", "eq('a')", "in [1, 'a', none]", "ne none", "gt 1", "lt(3)", "ge 0", "callable", "sameas true"]  # fmt: skip
MARKS = ["", "", "", "-", "-", "+"]


class Generator:
    def __init__(self, rng):
        self.rng = rng
        self.loops = 0

    def pick(self, options):
        return self.rng.choice(options)

    def text(self, depth=2):
        kind = self.rng.randrange(10 if depth > 0 else 2)
        if kind == 0:
            return self.pick(TEXTS)
        if kind == 1:
            return self.pick(TEXT_NAMES)
        if kind in (2, 3):
            return f"({self.text(depth - 1)})|{self.pick(TEXT_FILTERS)}"
        if kind in (4, 5):
            return f"({self.text(depth - 1)}){self.pick(TEXT_METHODS)}"
        if kind == 6:
            return f"{self.text(depth - 1)} + {self.text(depth - 1)}"
        if kind == 7:
            return f"{self.text(depth - 1)} ~ {self.value(depth - 1)} ~ {self.number(depth - 1)}"
        if kind == 8:
            return f"({self.text(depth - 1)} if {self.condition(depth - 1)} else {self.text(depth - 1)})"
        return f"{self.text(depth - 1)} * {self.pick(['2', '0', 'n', '-1'])}"

    def number(self, depth=2):
        kind = self.rng.randrange(6 if depth > 0 else 1)
        if kind == 0:
            return self.pick(NUMBERS)
        if kind in (1, 2):
            return f"({self.number(depth - 1)} {self.pick(['+', '-', '*', '/', '//', '%', '**'])} {self.number(depth - 1)})"
        if kind == 3:
            return f"({self.number(depth - 1)})|{self.pick(NUMBER_FILTERS)}"
        if kind == 4:
            return f"({self.text(depth - 1)})|{self.pick(['int', 'float', 'length', 'int(-1)', 'float(default=0.5)', 'count'])}"
        return f"-{self.number(depth - 1)}"

    def listing(self, depth=2):
        kind = self.rng.randrange(6 if depth > 0 else 1)
        if kind in (0, 1):
            return self.pick(LISTS)
        if kind == 2:
            return f"({self.listing(depth - 1)}){self.pick(['[1:]', '[:-1]', '[::-1]', '[0:2]', '[-1:]', '[::-2]', '[3:0:-1]'])}"
        if kind == 3:
            return f"(({self.listing(depth - 1)})|list + {self.listing(depth - 1)}|list)"
        if kind == 4:
            return f"({self.listing(depth - 1)})|{self.pick(LIST_FILTERS)}"
        return f"[{self.value(depth - 1)}, {self.value(depth - 1)}]"

    def mapping(self, depth=2):
        if depth > 0 and self.rng.random() < 0.2:
            return f"{{{self.text(depth - 1)}: {self.value(depth - 1)}, 'z': {self.number(depth - 1)}}}"
        return self.pick(MAPPINGS)

    def value(self, depth=2):
        kind = self.rng.randrange(9)
        if kind == 0:
            return self.pick(ANY)
        if kind in (1, 2):
            return self.text(depth)
        if kind == 3:
            return self.number(depth)
        if kind == 4:
            return f"({self.listing(depth)})|{self.pick(LIST_FILTERS)}"
        if kind == 5:
            return f"messages|{self.pick(MESSAGE_FILTERS)}"
        if kind == 6:
            return f"({self.mapping(depth)})|{self.pick(MAPPING_FILTERS)}"
        if kind == 7:
            return f"({self.mapping(depth)}){self.pick(MAPPING_METHODS)}"
        return self.pick([f"({self.condition(depth)})", self.listing(depth), self.mapping(depth)])

    def condition(self, depth=2):
        kind = self.rng.randrange(8)
        if kind == 0:
            return f"{self.value(depth - 1) if depth > 0 else self.pick(ANY)} is {self.pick(['', '', 'not '])}{self.pick(TESTS)}"
        if kind == 1:
            return f"{self.pick(TEXTS)} {self.pick(['in', 'not in'])} {self.pick(TEXT_NAMES + LISTS + MAPPINGS)}"
        if kind == 2 and depth > 0:
            return f"{self.condition(depth - 1)} {self.pick(['and', 'or'])} {self.condition(depth - 1)}"
        if kind == 3 and depth > 0:
            return f"not {self.condition(depth - 1)}"
        if kind == 4:
            return f"{self.pick(NUMBERS)} {self.pick(['<', '<=', '>', '>=', '==', '!='])} {self.pick(NUMBERS)} {self.pick(['', '', '< 5', '== 1'])}"
        if kind == 5:
            return f"{self.pick(TEXT_NAMES)}.{self.pick(['startswith', 'endswith'])}({self.pick(TEXTS)})"
        if kind == 6:
            return self.pick(ANY + TEXT_NAMES + LISTS)
        return f"{self.text(0)} {self.pick(['==', '!=', '<', '>='])} {self.text(0)}"

    def tag(self, body):
        return "{%" + self.pick(MARKS) + " " + body + " " + self.pick(MARKS) + "%}"

    def space(self):
        return self.pick(["", "", "\n", " ", "  \n  ", " text ", "\n\n    ", "\t", "x\n"])

    def block(self, depth):
        return self.space().join(self.statement(depth) for _ in range(self.rng.randrange(1, 3)))

    def statement(self, depth=2):
        kind = self.rng.randrange(12 if depth > 0 else 4)
        space = self.space
        if kind < 4:
            return space() + "{{" + self.pick(["", "-", ""]) + " " + self.value(2) + " " + self.pick(["", "-"]) + "}}" + space()
        if kind in (4, 5):
            middle = self.tag(f"elif {self.condition(1)}") + self.block(depth - 1) if self.rng.random() < 0.4 else ""
            end = self.tag("else") + space() + self.block(depth - 1) if self.rng.random() < 0.5 else ""
            return self.tag(f"if {self.condition()}") + space() + self.block(depth - 1) + middle + end + space() + self.tag("endif") + space()
        if kind in (6, 7):
            return self.loop(depth)
        if kind == 8:
            name = self.pick(["x", "y", "word", "n", "ns.v", "missing", "tools", "loop_messages", "a, b"])
            value = f"({self.value(1)}, {self.value(1)})" if name == "a, b" else self.value()
            return self.tag(f"set {name} = {value}") + space() + self.pick(["{{ x }}", "{{ y ~ missing }}", "{{ ns.v }}", "{{ tools }}", "{{ a ~ b }}", ""])
        if kind == 9:
            return self.tag(f"set x{self.pick(['', ' | upper', ' | trim | replace(1, 2)'])}") + self.block(depth - 1) + self.tag("endset") + "{{ x }}"
        if kind == 10:
            return self.pick([self.tag("raw") + " {{ no }} {% x %}\n " + self.tag("endraw"), "{#- note -#}", "{# note #}\n", "  {#+ note #}",
                              self.tag("generation") + self.block(depth - 1) + self.tag("endgeneration"),
                              self.tag("filter upper") + self.block(depth - 1) + self.tag("endfilter")])  # fmt: skip
        name = self.pick(["f", "g"])
        macro = self.tag(f"macro {name}(p, q={self.pick(['1', 'word', 'p'])})") + space() + self.block(0) + "{{ p ~ q }}" + self.tag("endmacro")
        arguments = self.pick([self.value(1), f"{self.value(1)}, {self.number(1)}", f"q={self.text(1)}, p=1", ""])
        return (macro if self.loops == 0 else "") + "{{ " + name + "(" + arguments + ") }}"

    def loop(self, depth):
        self.loops += 1
        head = self.pick(["m in messages", "m in messages[::-1]", f"m in {self.listing(1)}", "key in tree", "key, v in tree.items()", "key, v in tree|items", "key, v in tree|dictsort",
                          "i in range(3)", "m in messages if m.role != 'system'", "i in numbers if i is odd", "c in word", f"a, b in [(1, 2), [3, {self.value(0)}]]"])  # fmt: skip
        body = self.block(depth - 1)
        if self.rng.random() < 0.3:
            body += self.pick(["{{ loop.index }}{{ loop.last }}", "{{ loop.previtem }}", "{{ loop.cycle('a', 'b') }}", "{% if not loop.first %}, {% endif %}", "{{ loop.nextitem is defined }}",
                               "{{ loop.length ~ loop.revindex }}", "{% set ns.v = ns.v ~ loop.index0 %}", "{% set x = loop.index %}"])  # fmt: skip
        if self.rng.random() < 0.2:
            body += self.pick(["{% if loop.index == 2 %}{% break %}{% endif %}", "{% if m is string %}{% continue %}{% endif %}", "{% continue %}", "{% break %}"]) + self.space()
        end = self.tag("else") + self.block(0) if self.rng.random() < 0.2 else ""
        self.loops -= 1
        return self.tag(f"for {head}") + self.space() + body + end + self.tag("endfor") + self.space()

    def template(self):
        start = "{% set ns = namespace(v='') %}" if self.rng.random() < 0.5 else ""
        return start + self.block(2) + self.pick(["", "\n", "{{ ns.v }}", "{{ x }}"])
