"""A rule's text as a tree of terms: the only file that knows sqlglot, and the list of what a rule may hold.

Nothing but what stands on the lists here comes out, so that a rule can name no file and no host.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NoReturn

from sqlglot import Token, Tokenizer, TokenType, exp
from sqlglot.errors import ErrorLevel, ParseError, TokenError
from sqlglot.parser import IsPredicatePrecedence, Parser

from llmsynthor.candidates.rule_terms import (
    AGGREGATES,
    ALIASES,
    COMPARISONS,
    FUNCTIONS,
    TYPES,
    Aggregate,
    Column,
    Constant,
    Node,
    Term,
    Text,
    extent,
)
from llmsynthor.errors import JobError
from llmsynthor.text import clean, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_FOREIGN = frozenset(
    {"FIRST", "LAST", "MEDIAN", "QUANTILE_CONT", "QUANTILE_DISC", "STDDEV", "STDDEV_SAMP", "STDEV"}
    | {"STDEV_SAMP", "VARIANCE", "VAR", "VAR_SAMP", "CORR", "COVAR", "COVAR_SAMP", "COVAR_POP"}
    | {"ARRAY_AGG", "STRING_AGG", "ROW_NUMBER", "RANK", "DENSE_RANK", "LAG", "LEAD", "OVER"}
    | {"FIRST_VALUE", "LAST_VALUE"}
)
"""What SQL takes over all records together."""
_OTHER_NAMES = {
    "MEAN": "AVG", "AVERAGE": "AVG", "COUNT_IF": "COUNT", "COUNTIF": "COUNT", "SOME": "ANY",
    "EVERY": "ALL", "EXISTS": "ANY", "TOTAL": "SUM", "MINIMUM": "MIN", "MAXIMUM": "MAX",
}  # fmt: skip
"""What other languages call an aggregate."""
_QUERIES = frozenset(
    {"SELECT", "WITH", "UNION", "INTERSECT", "EXCEPT", "JOIN", "VALUES", "TABLE", "UNNEST"}
    | {"GROUP", "ORDER", "HAVING", "LIMIT", "PARTITION", "WINDOW", "INSERT", "UPDATE", "DELETE"}
    | {"CREATE", "DROP", "ALTER", "COPY", "PRAGMA", "ATTACH", "DETACH", "INSTALL", "LOAD", "SET"}
)
"""Words of queries and statements: refused by name, since they are what somebody is most likely to try."""
_DEEPEST = 30
"""Brackets and CASE within each other: polars reads 48, and members add some of their own."""
_DEEPEST_TREE = 24
"""Operators and functions within each other: polars reads about 48, and takes for ever over more."""
_LARGEST = 200_000
"""Operators, functions and what they are of, as polars has them: some write their part down twice."""
_TOO_DEEP = "is nested too deeply; write it as several rules"
_LONGEST = 500
"""Numbers in one sum, and cases in one CASE: polars takes minutes over thousands, then crashes."""
_NUMBER = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")


class _Tokenizer(Tokenizer):
    """Knows the words of rules only: that of a query is a name like any other."""

    IDENTIFIERS = ['"', "`"]
    SINGLE_TOKENS = {
        "(": TokenType.L_PAREN, ")": TokenType.R_PAREN, ",": TokenType.COMMA, ".": TokenType.DOT,
        "+": TokenType.PLUS, "-": TokenType.DASH, "*": TokenType.STAR, "/": TokenType.SLASH,
        "%": TokenType.MOD, "<": TokenType.LT, ">": TokenType.GT, "=": TokenType.EQ,
        ";": TokenType.SEMICOLON, "'": TokenType.UNKNOWN, '"': TokenType.UNKNOWN,
        "`": TokenType.UNKNOWN,
        **dict.fromkeys("!#$&:?@[]^{|}~\\", TokenType.HASH),  # of no rule, but no letters either
    }  # fmt: skip
    KEYWORDS = {
        "==": TokenType.EQ, "<>": TokenType.NEQ, "!=": TokenType.NEQ, "<=": TokenType.LTE,
        ">=": TokenType.GTE, "<=>": TokenType.NULLSAFE_EQ, "||": TokenType.DPIPE,
        "//": TokenType.DIV, "::": TokenType.DCOLON,
        "AND": TokenType.AND, "OR": TokenType.OR, "NOT": TokenType.NOT, "IN": TokenType.IN,
        "IS": TokenType.IS, "NULL": TokenType.NULL, "TRUE": TokenType.TRUE,
        "FALSE": TokenType.FALSE, "LIKE": TokenType.LIKE, "ILIKE": TokenType.ILIKE,
        "BETWEEN": TokenType.BETWEEN, "CASE": TokenType.CASE, "WHEN": TokenType.WHEN,
        "THEN": TokenType.THEN, "ELSE": TokenType.ELSE, "END": TokenType.END, "AS": TokenType.ALIAS,
        "WHERE": TokenType.WHERE, "DISTINCT": TokenType.DISTINCT,
        **{word: TokenType[kind] for word, kind in TYPES.items()},
    }  # fmt: skip


class _Parser(Parser):
    """Reads one condition; every function is a name with arguments, and `WHERE` may follow these."""

    FUNCTIONS = {}
    FUNCTION_PARSERS = {"CAST": Parser.FUNCTION_PARSERS["CAST"]}
    NO_PAREN_FUNCTIONS = {}
    NO_PAREN_FUNCTION_PARSERS = {"CASE": Parser.NO_PAREN_FUNCTION_PARSERS["CASE"]}
    SUBQUERY_PREDICATES = {}
    PLACEHOLDER_PARSERS = {}
    IS_PREDICATE_PRECEDENCE = IsPredicatePrecedence.LOW  # as polars reads `age = 3 IS NULL`

    def _parse_function_args(self, alias: bool = False) -> list[exp.Expr]:  # noqa: ARG002
        found = super()._parse_function_args(alias=False)
        if self._match(TokenType.WHERE):
            found.append(exp.Where(this=self._parse_disjunction()))
        return found


_BINARY: dict[type[exp.Expr], str] = {
    exp.And: "AND", exp.Or: "OR", exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=",
    exp.GT: ">", exp.GTE: ">=", exp.NullSafeEQ: "IS NOT DISTINCT FROM",
    exp.NullSafeNEQ: "IS DISTINCT FROM", exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/",
    exp.IntDiv: "//", exp.Mod: "%", exp.DPipe: "||", exp.Like: "LIKE", exp.ILike: "ILIKE",
}  # fmt: skip
_MAY_HOLD: dict[type[exp.Expr], frozenset[str]] = {
    **{kind: frozenset({"this", "expression", "negate", "safe"}) for kind in _BINARY},
    **{kind: frozenset({"this"}) for kind in (exp.Paren, exp.Not, exp.Neg, exp.Boolean)},
    exp.Column: frozenset({"this", "table", "db", "catalog"}),
    exp.Literal: frozenset({"this", "is_string"}),
    exp.Null: frozenset(),
    exp.Is: frozenset({"this", "expression", "negate"}),
    exp.In: frozenset({"this", "expressions"}),
    exp.Between: frozenset({"this", "low", "high"}),
    exp.Case: frozenset({"this", "ifs", "default"}),
    exp.Cast: frozenset({"this", "to"}),
    exp.Anonymous: frozenset({"this", "expressions"}),
}
"""The nodes of sqlglot's tree that a rule may have, each with the arguments that it may have."""
_BARE = (*(k for k, n in _BINARY.items() if n in COMPARISONS), exp.In, exp.Between)
"""What has to stand in brackets behind a comparison: readers of SQL differ on what is meant."""
_SHOWN = {
    "tuple": "a list in brackets", "alias": "AS", "star": "*", "dot": ".", "casttostrtype": "CAST",
    "attimezone": "AT TIME ZONE", "concat": "text right behind text", "national": "N'...'",
}  # fmt: skip


def parse(text: str, names: Collection[str]) -> Node:
    """Return a rule's text as a tree.

    Args:
        text: A condition, for example `age < 15 AND mode = 'car'`.
        names: The variables: a word that is one of them is no word of SQL.

    Raises:
        JobError: The text is no condition, or holds something that no rule may hold.
    """
    try:
        tokens = _Tokenizer().tokenize(text)
    except TokenError:
        raise JobError("not a SQL expression: a quote is not closed") from None
    if not tokens:
        raise JobError("not a SQL expression: it is empty")
    reader = _Reader(text, _with_names(tokens, names))
    try:
        trees = _Parser(ErrorLevel.IMMEDIATE).parse_into(exp.Condition, reader.tokens, text)
        if not trees or trees[0] is None:
            raise _unreadable(text, tokens[0])
        reader.check_words(trees[0])
        return reader.node(trees[0])
    except ParseError as error:
        found = error.errors[0]
        place = next((t for t in tokens if (t.line, t.col) == (found["line"], found["col"])), None)
        raise _unreadable(text, place or tokens[-1]) from None
    except RecursionError:
        raise JobError(_TOO_DEEP) from None


def _lacks_item(before: Token | None, token: Token) -> bool:
    """Return whether nothing stands beside a comma, as in `(a, , b)`: sqlglot reads over it."""
    opens = before is None or before.token_type in {TokenType.L_PAREN, TokenType.COMMA}
    if token.token_type == TokenType.R_PAREN:
        return before is not None and before.token_type == TokenType.COMMA
    return token.token_type == TokenType.COMMA and opens


def _unreadable(text: str, token: Token) -> JobError:
    word = clean(text[token.start : token.end + 1])
    return JobError(
        "not a SQL expression: something is missing or too much at "
        f"`{word}` (character {token.start + 1})"
    )


def _with_names(tokens: Sequence[Token], names: Collection[str]) -> list[Token]:
    """Return the tokens, with words that are variables as names, as if they stood in quotes."""
    types = {TokenType[kind] for kind in TYPES.values()}
    found: list[Token] = []
    for token, after in zip(tokens, [*tokens[1:], None], strict=True):
        is_word = token.token_type == TokenType.VAR or token.token_type in types
        is_call = after is not None and after.token_type == TokenType.L_PAREN
        is_type = bool(found) and found[-1].token_type in {TokenType.ALIAS, TokenType.DCOLON}
        if is_word and token.text in names and not is_call and not is_type:
            place = (token.line, token.col, token.start, token.end)
            token = Token(TokenType.IDENTIFIER, token.text, *place)
        found.append(token)
    return found


class _Reader:
    """Makes the tree of one rule; what is on no list is refused."""

    def __init__(self, text: str, tokens: list[Token]) -> None:
        """Take the rule's text and its words; refuse those that no rule has."""
        self.tokens = tokens
        self._text = text
        self._ends: dict[int, int] = {}
        self._holder: str | None = None
        self._look_through()

    def _look_through(self) -> None:
        """Find which bracket closes which; refuse words of queries and too many brackets."""
        open_: list[tuple[int, Token | None]] = []
        cases = 0
        for position, token in enumerate(self.tokens):
            before = self.tokens[position - 1] if position else None
            word = token.text.upper()
            if token.token_type == TokenType.SEMICOLON:
                raise JobError("`;` has no place in a rule: it is one condition")
            if token.token_type == TokenType.VAR and word in _QUERIES:
                _refuse(token.text)
            if token.token_type == TokenType.VAR and word == "OVER":
                raise JobError(_of_all(token.text))
            if _lacks_item(before, token):
                raise _unreadable(self._text, token)
            cases += {TokenType.CASE: 1, TokenType.END: -1}.get(token.token_type, 0)
            if token.token_type == TokenType.L_PAREN:
                open_.append((token.start, before))
            if token.token_type == TokenType.R_PAREN:
                if not open_:
                    raise _unreadable(self._text, token)
                self._ends[open_.pop()[0]] = token.end + 1
            if len(open_) + cases > _DEEPEST:
                raise JobError(
                    f"has more than {_DEEPEST} brackets within each other; write it as several rules"
                )
        if open_:
            behind = open_[-1][1]
            place = "at its start" if behind is None else f"after `{clean(behind.text)}`"
            raise JobError(f"not a SQL expression: the bracket {place} is not closed")

    def check_words(self, tree: exp.Expr) -> None:
        """Refuse `BETWEEN 1 2` and `CASE WHEN a b END`: sqlglot reads over what lacks there."""
        nodes = Counter(type(node) for node in tree.walk())
        words = Counter(token.token_type for token in self.tokens)
        if words[TokenType.AND] != nodes[exp.And] + nodes[exp.Between]:
            raise JobError("not a SQL expression: a `BETWEEN` lacks its `AND`")
        if words[TokenType.THEN] != nodes[exp.If]:
            raise JobError("not a SQL expression: a `CASE` lacks a `THEN`")

    def node(self, found: exp.Expr | None) -> Node:
        """Return what a node of sqlglot's tree stands for.

        Raises:
            JobError: It is nothing that a rule may hold.
        """
        made = self._made(found)
        depth, size = extent(made)
        if depth > _DEEPEST_TREE:
            raise JobError(_TOO_DEEP)
        if size > _LARGEST:
            raise JobError("is too long; write it as several rules")
        return made

    def _made(self, found: exp.Expr | None) -> Node:
        kind = type(found)
        if found is None or kind not in _MAY_HOLD:
            _refuse(_SHOWN.get(found.key, found.key.upper()) if found else "nothing")
        if isinstance(found, exp.In) and not found.expressions:
            raise JobError("`IN` needs a list such as `('a', 'b')`")
        extra = sorted({k for k, value in found.args.items() if value} - _MAY_HOLD[kind])
        if extra:
            _refuse(extra[0].strip("_").upper())
        if kind in _BINARY:
            return self._binary(found)
        if isinstance(found, exp.Paren):
            return self.node(found.this)
        if isinstance(found, exp.Column):
            return Column(".".join(part.name for part in found.parts))
        if isinstance(found, exp.Literal):
            return Text(found.this) if found.is_string else _number(found.this)
        if isinstance(found, exp.Null | exp.Boolean):
            return Constant(found.sql())
        if isinstance(found, exp.Not | exp.Neg):
            return _twice(found.key.upper(), self.node(found.this))
        if isinstance(found, exp.Case):
            return self._case(found)
        if isinstance(found, exp.Cast):
            return Term("CAST", (self.node(found.this), _type(found.args["to"])))
        if isinstance(found, exp.Anonymous):
            return self._call(found)
        if isinstance(found, exp.Is):
            value = self.node(found.expression)
            if not isinstance(value, Constant) or value.sql not in {"NULL", "TRUE", "FALSE"}:
                raise JobError("`IS` takes `NULL`, `TRUE`, `FALSE` or `DISTINCT FROM`")
            term = Term(f"IS {value.sql}", (self.node(found.this),))
            return _twice("NOT", term) if found.args.get("negate") else term
        return Term(found.key.upper(), tuple(map(self.node, found.iter_expressions())))

    def _binary(self, found: exp.Expr) -> Node:
        """Return an operator; `a AND b AND c` is one, however long, so that nothing runs deep."""
        kind, name = type(found), _BINARY[type(found)]
        chained = name in {"AND", "OR", "+", "-", "*", "||"}
        parts = []
        while chained and isinstance(found.this, kind):
            parts.append(self.node(found.expression))
            found = found.this
        right = found.expression
        if kind in _BARE and isinstance(right.this if isinstance(right, exp.Not) else right, _BARE):
            raise JobError(f"needs brackets round the comparison behind `{name}`")
        parts += [self.node(right), self.node(found.this)]
        if len(parts) > _LONGEST and name not in {"AND", "OR"}:
            raise JobError(f"has more than {_LONGEST} parts between `{name}`")
        term = Term(name, tuple(reversed(parts)))
        return _twice("NOT", term) if found.args.get("negate") else term

    def _case(self, found: exp.Case) -> Node:
        """Return a CASE as conditions and values in turn, then the value of ELSE."""
        cases = found.args["ifs"]
        if len(cases) > _LONGEST:
            raise JobError(f"has more than {_LONGEST} cases in one `CASE`")
        of = found.this and self.node(found.this)
        parts: list[Node] = []
        for case in cases:
            when = self.node(case.this)
            parts += [when if of is None else Term("=", (of, when)), self.node(case.args["true"])]
        if found.args.get("default"):
            parts.append(self.node(found.args["default"]))
        return Term("CASE", tuple(parts))

    def _call(self, found: exp.Anonymous) -> Node:
        written, given = str(found.name), list(found.expressions)
        name = ALIASES.get(written.upper(), written.upper())
        if name in _FOREIGN:
            raise JobError(
                f"`{written}` is no aggregate of members; use {', '.join(AGGREGATES)}"
                if self._holder
                else _of_all(written)
            )
        if name in AGGREGATES:
            return self._aggregate(written, self._span(found), given)
        if name in _OTHER_NAMES:
            raise JobError(
                f"`{written}` is no function of rules; did you mean `{_OTHER_NAMES[name]}`?"
            )
        if name not in FUNCTIONS:
            advice = did_you_mean(name, [*FUNCTIONS, *AGGREGATES])
            raise JobError(
                f"`{clean(written)}` is no function of rules{advice} "
                f"(functions: {', '.join(FUNCTIONS)})"
            )
        if given and isinstance(given[-1], exp.Where):
            _refuse(f"WHERE in {name}")
        least, most = FUNCTIONS[name]
        if not least <= len(given) <= (most or len(given)):
            wanted = str(least) if least == most else f"{least} or more" if most is None else ""
            raise JobError(
                f"`{name}` takes {wanted or f'{least} to {most}'} "
                f"argument{'' if least == most == 1 else 's'}, got {len(given)}"
            )
        return Term(name, tuple(self.node(argument) for argument in given))

    def _span(self, found: exp.Expr) -> str:
        """Return a call as it stands in the rule."""
        start = found.meta["start"]
        return self._text[start : self._ends[min(at for at in self._ends if at > start)]]

    def _aggregate(self, written: str, text: str, given: list[exp.Expr]) -> Node:
        name, shown = written.upper(), clean(text)
        if self._holder:
            raise JobError(
                f"`{self._holder}` holds the aggregate `{written}`; an aggregate cannot hold another"
            )
        self._holder = shown
        distinct = False
        where = given.pop() if given and isinstance(given[-1], exp.Where) else None
        if given and isinstance(given[0], exp.Distinct):
            distinct, given = True, [*given[0].expressions, *given[1:]]
        if not given or (where and not where.this):
            raise JobError(
                f"`{shown}` lacks an expression; write for example `COUNT(age < 18)`, `COUNT(*)` or "
                "`MAX(age WHERE sex = 'female')`"
            )
        if distinct and name != "COUNT":
            raise JobError(f"`{shown}`: only COUNT takes `DISTINCT`")
        if len(given) > 1:
            raise JobError(f"`{shown}` takes one expression")
        parts = [self.node(where.this)] if where else []
        if isinstance(given[0], exp.Star):
            if name != "COUNT" or distinct:
                raise JobError(f"`{shown}`: only COUNT takes `*`")
        else:
            parts.insert(0, self.node(given[0]))
        self._holder = None
        return Aggregate(name, tuple(parts), text, distinct)


def _twice(name: str, node: Node) -> Node:
    """Return what `NOT` or a minus makes of a node; twice the same is nothing, however often."""
    if isinstance(node, Term) and node.name == name:
        return node.parts[0]
    return Term(name, (node,))


def _number(text: str) -> Node:
    if not _NUMBER.fullmatch(text):
        raise JobError(f"`{clean(text)}` is no number")
    return Constant(text)


def _type(found: exp.DataType) -> Node:
    word = next((w for w, kind in TYPES.items() if found.this == exp.DType[kind]), None)
    if word is None or any(value for key, value in found.args.items() if key != "this"):
        raise JobError(f"`{clean(found.sql())}` is no type of rules (types: {', '.join(TYPES)})")
    return Constant(word)


def _of_all(written: str) -> str:
    return f"`{written}` speaks of all records together; a rule must hold for each by itself"


def _refuse(shown: str) -> NoReturn:
    raise JobError(
        f"`{clean(shown)}` has no place in a rule: it may hold comparisons, AND, OR, NOT, arithmetic, "
        "CASE, named functions and aggregates of members (docs/rules.md)"
    )
