"""The configuration that scip-typescript gets instead of the repository's."""

from __future__ import annotations

import msgspec

from pipeline.structure.scip.typescript import CONFIGURATION, configured, mappings


def test_every_file_is_named_and_nothing_of_a_repositorys_configuration_stays_but_where_imports_lead() -> None:
    given = configured(
        {
            "tsconfig.json": b'{"extends": "@tsconfig/strictest", "files": ["/etc/passwd"], "include": ["../**/*"],'
            b'"compilerOptions": {"plugins": [{"name": "./evil.js"}], "typeRoots": ["/usr"], "outDir": "/tmp"}}',
            "src/a.ts": b"let a = 1\n",
            "web/package.json": b'{"name": "@x/web", "version": "1.2.3", "scripts": {"postinstall": "evil"}}',
            "web/src/b.test.js": b"",
        }
    )
    told = msgspec.json.decode(given.pop(CONFIGURATION))
    assert told["files"] == ["./src/a.ts", "./web/src/b.test.js"]
    assert set(told) == {"compilerOptions", "files"}
    assert not {"plugins", "outDir", "extends"} & told["compilerOptions"].keys()
    assert told["compilerOptions"]["typeRoots"] == told["compilerOptions"]["types"] == []
    assert set(given) == {"src/a.ts", "web/package.json", "web/src/b.test.js"}
    assert given["web/package.json"] == b'{"name":"@x/web"}'


def test_path_mappings_are_the_union_of_all_configurations_from_the_root_and_stay_inside() -> None:
    found = mappings(
        {
            "web/tsconfig.json": b'\xef\xbb\xbf// a comment\n{"compilerOptions": {/* and */ "baseUrl": "./src",'
            b'"paths": {"@/*": ["./*", "../../../up/*", "/etc/*",], "a*b*": ["./x"], "u": ["//no"], "n": 3,},},}',
            "app/jsconfig.base.json": b'{"compilerOptions": {"paths": {"@/*": ["src/*"]}}}',
            "core/package.json": b'{"name": "@x/core"}',
            "broken/tsconfig.json": b"{",
            "list/package.json": b"[]",
        }
    )
    assert found == {
        "@/*": ["./app/src/*", "./web/src/*"],
        "*": ["./web/src/*"],
        "@x/core": ["./core/src/index", "./core/index"],
        "@x/core/*": ["./core/src/*", "./core/*"],
    }


def test_marks_that_typescript_counts_otherwise_keep_their_place() -> None:
    given = configured({"a.ts": '\ufefflet a = "\u2028";\nlet b = "\u2029é";\n'.encode()})
    assert given["a.ts"].decode() == ' let a = " ";\nlet b = " é";\n'
