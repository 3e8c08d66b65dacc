"""The size guard finds what is too large, and nothing else."""

from tools.sizes import check_python, check_typescript


def _function(lines: int, parameters: int = 0) -> str:
    names = ", ".join(f"p{number}" for number in range(parameters))
    return f"def f({names}):\n" + "    pass\n" * (lines - 1)


def test_a_function_may_have_80_lines_and_no_more() -> None:
    assert check_python(_function(80), "a.py").excesses == []

    [excess] = check_python(_function(81), "a.py").excesses
    assert excess == ("a.py:1", "lines of f()", 81, 80)


def test_a_function_may_have_12_parameters_and_no_more() -> None:
    assert check_python(_function(2, 12), "a.py").excesses == []

    [excess] = check_python(_function(2, 13), "a.py").excesses
    assert excess.size == 13


def test_a_file_may_have_600_lines_and_no_more() -> None:
    assert check_python("x = 1\n" * 600, "a.py").excesses == []

    [excess] = check_python("x = 1\n" * 601, "a.py").excesses
    assert excess.where == "a.py"


def test_a_class_may_have_25_public_methods_beside_its_private_ones() -> None:
    methods = [f"    def m{number}(self): ...\n" for number in range(25)]
    private = ["    def _p(self): ...\n", "    def test_x(self): ...\n"]
    assert check_python("class C:\n" + "".join(methods + private), "a.py").excesses == []

    [excess] = check_python("class C:\n" + "".join([*methods, "    def m(self): ...\n"]), "a.py")[
        3
    ]
    assert excess.what == "public methods of class C"


def test_a_class_may_have_400_lines() -> None:
    [excess] = check_python("class C:\n" + "    x = 1\n" * 400, "a.py").excesses
    assert excess.what == "lines of class C"


def test_methods_and_inner_functions_are_measured_too() -> None:
    inner = "".join(f"        {line}\n" for line in _function(81).splitlines())
    seen = check_python("class C:\n    def m(self):\n" + inner, "a.py")
    assert {excess.what for excess in seen.excesses} == {"lines of f()", "lines of m()"}
    assert (seen.functions, seen.classes) == (2, 1)


def test_a_component_may_have_150_lines_and_no_more() -> None:
    fits = "export function Chart() {\n" + "  x;\n" * 148 + "}\n"
    assert check_typescript(fits, "a.tsx").excesses == []

    large = "export function Chart() {\n" + "  x;\n" * 149 + "}\n"
    [excess] = check_typescript(large, "a.tsx").excesses
    assert excess == ("a.tsx:1", "lines of <Chart>", 151, 150)


def test_components_in_all_their_spellings_are_seen() -> None:
    text = (
        "function A() {\n}\n"
        "export const B = ({ x }: Props) => {\n};\n"
        "const C = memo(function C() {\n});\n"
        "const LIMIT = 3;\n"
        "function helper() {\n}\n"
    )
    assert check_typescript(text, "a.tsx").components == 3


def test_a_typescript_file_may_have_500_lines() -> None:
    assert check_typescript("x;\n" * 500, "a.ts").excesses == []
    assert len(check_typescript("x;\n" * 501, "a.ts").excesses) == 1


def test_a_docstring_does_not_make_a_function_longer() -> None:
    docstring = '    """First.\n' + "\n    More.\n" * 40 + '    """\n'
    body = "    pass\n" * 79
    assert check_python("def f():\n" + docstring + body, "a.py").excesses == []
    assert check_python("def f():\n" + docstring + body + "    pass\n", "a.py").excesses


def test_a_door_that_is_marked_as_mirroring_another_may_have_more_parameters() -> None:
    names = ", ".join(f"p{number}" for number in range(20))
    assert check_python(f"def f({names}):  # noqa: PLR0913\n    pass\n", "a.py").excesses == []
