"""What definitions are found in each language, and what is said about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.source.languages import LANGUAGES
from pipeline.structure.definitions import Columns, definitions, query_text
from pipeline.structure.kinds import KINDS
from pipeline.structure.syntax import Nodes, parse, walk, words

SAMPLES = Path(__file__).parent / "samples"
WITH_SAMPLES = sorted(path.stem for path in SAMPLES.glob("*.expected"))


def find(content: bytes, lang: str) -> tuple[Columns, Nodes]:
    tree = parse(content, lang)
    assert tree is not None
    nodes = walk(tree)
    return definitions(content, tree, nodes, lang), nodes


def found(source: str, lang: str) -> list[tuple[str, str]]:
    columns, _ = find(source.encode(), lang)
    return list(zip(columns.kind, columns.qualified_name, strict=True))


def row(columns: Columns, qualified_name: str) -> dict[str, object]:
    index = columns.qualified_name.index(qualified_name)
    return {name: getattr(columns, name)[index] for name in Columns.__dataclass_fields__}


def sample(lang: str) -> bytes:
    return (SAMPLES / f"sample.{lang}").read_bytes()


def test_every_language_with_definitions_has_a_query_and_a_sample() -> None:
    names = {name for name, language in LANGUAGES.items() if language.definitions}
    assert names <= set(WITH_SAMPLES)
    assert all(query_text(name) for name in names)


@pytest.mark.parametrize("lang", WITH_SAMPLES)
def test_the_sample_has_exactly_the_expected_definitions(lang: str) -> None:
    columns, _ = find(sample(lang), lang)
    expected = [tuple(line.split("\t")) for line in (SAMPLES / f"{lang}.expected").read_text("utf-8").splitlines()]
    assert list(zip(columns.kind, columns.qualified_name, strict=True)) == expected


@pytest.mark.parametrize("lang", WITH_SAMPLES)
def test_spans_names_lines_parents_and_node_ids_hold_together(lang: str) -> None:
    content = sample(lang)
    columns, nodes = find(content, lang)
    assert len({len(getattr(columns, name)) for name in Columns.__dataclass_fields__}) == 1
    assert set(columns.kind) <= set(KINDS)
    order = list(zip(columns.start_byte, columns.node_id, strict=True))
    assert order == sorted(order)
    spans = dict(zip(columns.node_id, zip(columns.start_byte, columns.end_byte, strict=True), strict=True))
    for index in range(len(columns)):
        start, end, name_start = columns.start_byte[index], columns.end_byte[index], columns.name_start_byte[index]
        name = columns.name[index].encode()
        assert 0 <= start <= name_start < end <= len(content)
        assert content[name_start : name_start + len(name)] == name
        node = columns.node_id[index]
        assert start <= nodes.start[node] <= name_start < nodes.end[node] <= end
        assert columns.start_line[index] == content[:start].count(b"\n") + 1
        assert columns.end_line[index] == content[: end - 1].count(b"\n") + 1
        parent = columns.parent[index]
        assert parent is None or (parent < node and spans[parent][0] <= start and end <= spans[parent][1])
        assert len(columns.signature[index]) <= 512
        assert "\n" not in columns.signature[index]
        assert columns.signature[index]


SIGNATURES = [
    ("bash", "log", "log()", "Write a line to stderr.\nArguments: the message."),
    (
        "c",
        "ring_push",
        "static inline int ring_push(struct ring *r, byte value)",
        "Push a byte.\nReturns 0 when the ring is full.",
    ),
    ("c", "RING_NEXT", "#define RING_NEXT(i)", ""),
    ("cpp", "Stack.top", "template <class T> const T &Stack<T>::top() const", ""),
    ("cpp", "geo.shapes.Pair", "template <typename T, typename U> struct Pair", "A pair of values."),
    ("csharp", "Shop.Billing.Invoice", "public class Invoice : Document, IPrintable", "<summary>An invoice.</summary>"),
    ("csharp", "Shop.Billing.Invoice.Add", "public void Add(Line line)", "<summary>Adds a line.</summary>"),
    ("elixir", "Bank.Account", "defmodule Bank.Account", "An account and what can be done with it."),
    ("elixir", "Bank.Account.open", "def open(owner)", "Opens an account.\n\nReturns a pid."),
    ("elixir", "Bank.Account.format", "defp format(balance)", "The balance as text."),
    ("go", "Stack", "type Stack[T any] struct", "Stack is a stack of values."),
    ("go", "Stack.Push", "func (s *Stack[T]) Push(value T) error", "Push adds a value."),
    ("go", "modeWrite", "modeWrite", "modeWrite is for writers."),
    ("haskell", "insert", "insert :: Ord a => a -> Tree a -> Tree a", "Insert a key.\nKeeps the order."),
    ("haskell", "Container", "class Container f where", "Things with a size."),
    (
        "java",
        "Basket",
        "public class Basket<T extends Item> extends Base implements Iterable<T>",
        "A basket.\nNot thread-safe.",
    ),
    ("javascript", "double", "export const double = (n)", "Double a number."),
    ("javascript", "run", "export async function run(job)", "Runs one job.\n@param {Job} job"),
    ("kotlin", "User.label", "override fun label(): String", "The label."),
    ("lua", "M.length", "function M:length()", "Length\nof the vector."),
    ("lua", "negate", "local negate = function(v)", ""),
    ("php", "Controller", "final class Controller extends Base implements Handler", "Handles requests."),
    ("php", "Controller.show", "public function show(int $id): Response", "Shows one."),
    ("python", "retry", "def retry(times: int = 3)", "Retries a function.\nThree times."),
    ("python", "Job", "class Job(Base, metaclass=Meta)", "One job.\n\nIt has:\n    a name"),
    ("python", "Job.run", "async def run( first: int, *rest: str, ) -> dict[str, int]", "Runs."),
    ("python", "Job.size", "def size(self) -> int", "The \\size."),
    ("ruby", "Shop.Basket", "class Basket < Base", "A basket of items.\nIt counts."),
    ("rust", "Stack", "pub struct Stack<T>", "A stack of values.\n\nIt grows."),
    ("rust", "inner.load", "pub(crate) async fn load<T>(url: &str) -> Result<T, Error> where T: Sized,", ""),
    ("scala", "User.label", "override def label(prefix: String)(implicit ctx: Context): String", "The label."),
    ("swift", "User.greet", "func greet(_ other: User, times: Int = 1) -> String", "Greets."),
    ("typescript", "Basket.total", "public total(tax = 0): number", "The sum."),
    ("typescript", "Id", "export type Id = string | number", ""),
    ("tsx", "Dialog", "export const Dialog: React.FC<Props> = ({ title, onClose })", "A dialog."),
    ("zig", "List.init", "fn init(allocator: std.mem.Allocator) !Self", "Makes a list."),
    ("zig", "List", "const List = struct", "A list of values."),
]


@pytest.mark.parametrize(("lang", "name", "signature", "doc"), SIGNATURES, ids=[f"{case[0]}-{case[1]}" for case in SIGNATURES])
def test_signatures_are_one_line_up_to_the_body_and_docs_are_plain_text(lang: str, name: str, signature: str, doc: str) -> None:
    columns, _ = find(sample(lang), lang)
    first = row(columns, name)
    assert (first["signature"], first["doc"]) == (signature, doc)


@pytest.mark.parametrize(
    ("lang", "name", "opening"),
    [
        ("python", "Job", b"@dataclass"),
        ("python", "Job.run", b"@staticmethod"),
        ("rust", "Stack", b"#[derive"),
        ("typescript", "Basket", b"@Injectable()"),
        ("typescript", "Basket.total", b"@memo()"),
        ("typescript", "handler", b"export const"),
        ("java", "Basket.total", b"@Override"),
        ("csharp", "Shop.Billing.Invoice", b"[Serializable]"),
        ("php", "Controller", b"#[Route"),
        ("kotlin", "User", b"@Serializable"),
        ("swift", "User", b"@objc"),
        ("scala", "User", b"@deprecated"),
        ("elixir", "Bank.Account.open", b"@doc"),
        ("haskell", "insert", b"insert ::"),
        ("cpp", "geo.shapes.Pair", b"template"),
        ("zig", "List.init", b"pub fn"),
    ],
)
def test_what_belongs_to_a_definition_is_in_its_span(lang: str, name: str, opening: bytes) -> None:
    content = sample(lang)
    columns, _ = find(content, lang)
    start = columns.start_byte[columns.qualified_name.index(name)]
    assert content[start:].startswith(opening)


def test_node_ids_are_those_of_the_defining_nodes() -> None:
    columns, nodes = find(sample("python"), "python")
    types = [words("python").types[kind] for kind in nodes.kind[columns.node_id].tolist()]
    by_name = dict(zip(columns.qualified_name, types, strict=True))
    assert by_name["Job"] == "class_definition"
    assert by_name["Job.run"] == "function_definition"
    assert by_name["MAX_JOBS"] == "assignment"


def test_equations_of_one_haskell_function_are_one_definition_with_what_is_inside() -> None:
    columns, _ = find(sample("haskell"), "haskell")
    insert, go = row(columns, "insert"), row(columns, "insert.go")
    assert columns.qualified_name.count("insert") == 1
    assert sample("haskell")[insert["start_byte"] : insert["end_byte"]].count(b"insert ") == 4
    assert go["parent"] == insert["node_id"]


def test_locals_are_left_out_and_inner_functions_kept() -> None:
    assert found("def f():\n    x = 1\n    def g(): pass\n", "python") == [("function", "f"), ("function", "f.g")]
    assert found("const f = () => { const x = 1; const g = () => x; };\n", "javascript") == [
        ("function", "f"),
        ("function", "f.g"),
    ]
    assert found("int f(void) { int x; int y(int); return 0; }\n", "c") == [("function", "f")]


def test_names_under_a_condition_are_names_of_the_module() -> None:
    source = "try:\n    import json\nexcept ImportError:\n    json = None\nif json:\n    codec = 1\n"
    assert found(source, "python") == [("variable", "json"), ("variable", "codec")]


def test_a_comment_belongs_only_to_what_follows_without_a_blank_line() -> None:
    columns, _ = find(b"# far\n\ndef f(): pass\n\nx = 1  # trailing\ndef g(): pass\n\n# near\ndef h(): pass\n", "python")
    assert dict(zip(columns.qualified_name, columns.doc, strict=True)) == {"f": "", "x": "", "g": "", "h": "near"}


def test_broken_syntax_keeps_what_can_be_read() -> None:
    assert ("function", "fine") in found("def fine():\n    return 1\n\ndef broken(:\n    ((\n", "python")
    assert ("function", "fine") in found("function fine() {}\nfunction ( {{{\n", "javascript")


def test_names_that_are_not_utf8_do_not_stop_the_file() -> None:
    columns, _ = find(b"def f\xff(): pass\ndef g(): pass\n", "python")
    assert "g" in columns.name


def test_positions_count_bytes() -> None:
    content = "# é\nprenom = 'ü'\ndef größe(): pass\n".encode()
    columns, _ = find(content, "python")
    start = columns.name_start_byte[columns.name.index("größe")]
    assert content[start:].startswith("größe".encode())


def test_lone_carriage_returns_are_line_breaks() -> None:
    columns, _ = find(b"class A {\r  void f() {}\r}\r", "java")
    assert columns.start_line == [1, 2]


def test_long_nesting_keeps_qualified_names_short() -> None:
    columns, _ = find(b"function outermost_function() {" * 300 + b"}" * 300, "javascript")
    assert len(columns) == 300
    assert max(map(len, columns.qualified_name)) <= 1024


def test_a_statement_of_many_names_has_a_definition_each() -> None:
    source = b"int " + b", ".join(b"name%d" % number for number in range(2000)) + b";\n"
    columns, _ = find(source, "c")
    assert len(columns) == 2000
    assert len(np.unique(columns.node_id)) == 1
    assert columns.parent == [None] * 2000
    assert found("struct s { int a, b, c, d, e, f, g, h, i, j, k; };", "c")[-1] == ("field", "s.k")


def test_equations_in_different_haskell_instances_are_different_definitions() -> None:
    source = "instance A T where\n  f x = 1\n\ninstance B T where\n  f x = 2\n"
    assert found(source, "haskell") == [("method", "T.f"), ("method", "T.f")]
