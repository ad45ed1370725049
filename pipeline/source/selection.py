"""Which files are indexed: the reasons for skipping one, and the rules behind them, as pure functions of name and bytes.

Belongs here: every judgement about one regular file. Not here: what is ignored by patterns (`ignoring`), or by what kind of
directory entry it is (`worktree`, `repository`).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping

from pipeline.config import SourceSettings
from pipeline.source.languages import language_of
from pipeline.source.text import decode

RULES_VERSION = "1"
"""Rises whenever a rule here, in `languages` or in `text` changes: remembered verdicts of other versions are not used."""

INDEXED = "indexed"
SKIPPED = "skipped"

IGNORED = "ignored"
BINARY = "binary"
TOO_LARGE = "too large"
GENERATED = "generated"
MINIFIED = "minified"
VENDORED = "vendored"
LOCK_FILE = "lock file"
CATALOGUE = "message catalogue"
UNDECODABLE = "undecodable"
SYMLINK = "symlink"
SUBMODULE = "submodule"
UNSUPPORTED = "unsupported"
UNREADABLE = "unreadable"

REASONS: Mapping[str, str] = {
    IGNORED: "matched by an ignore file or the `exclude` setting, or not by `include`",
    BINARY: "not text",
    TOO_LARGE: "over `max_file_bytes`",
    GENERATED: "says in its header or by its name that a program wrote it",
    MINIFIED: "minified JavaScript or CSS",
    VENDORED: "in a folder of third-party code",
    LOCK_FILE: "written by a package manager",
    CATALOGUE: "translations",
    UNDECODABLE: "neither UTF-8 nor in an encoding that it declares",
    SYMLINK: "a symbolic link; its target is indexed where it lies",
    SUBMODULE: "another repository",
    UNSUPPORTED: "text that is no source (images, keys, tables, patches), or no regular file",
    UNREADABLE: "may not be read",
}
"""Every value of `files.reason`, and what it means to people."""


def _words(text: str) -> list[str]:
    return text.split()


_NUL_WINDOW = 8192
_HEADER_LINES = 20
_HEADER_BYTES = 4096
_MINIFIED_BYTES = 2048
_MINIFIED_LINE = 300
"""Mean bytes a line from which JavaScript and CSS of some size count as minified."""

_UTF16_AND_32 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # UTF-32-LE begins like UTF-16-LE.

_BINARY_EXTENSIONS = frozenset(
    _words(
        "7z a avi bin bmp bz2 class db deb dll dmg doc docx dylib egg eot exe flac gif gz ico jar jpeg jpg lz4 mkv mov "
        "mp3 mp4 npy npz o obj odt ogg otf parquet pdf pkl png ppt pptx psd pyc pyd pyo rar rpm so sqlite sqlite3 tar "
        "tgz tif tiff ttf wasm wav webm webp whl woff woff2 xls xlsx xz zip zst"
    )
)
_UNSUPPORTED_EXTENSIONS: Mapping[str, str] = {
    extension: why
    for why, extensions in {
        "drawings": "svg eps ps drawio excalidraw",
        "certificates and keys": "pem crt cer der key csr p7b p12 pfx jks asc gpg pub sig",
        "source maps": "map",
        "notebooks": "ipynb",
        "data": "csv tsv psv jsonl ndjson",
        "patches": "patch diff rej orig",
        "logs": "log",
    }.items()
    for extension in extensions.split()
}
_UNSUPPORTED_NAMES = frozenset({"id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "known_hosts", "authorized_keys"})
_UNSUPPORTED_ENDINGS = (".dist-info/RECORD", ".egg-info/SOURCES.txt")
"""Lists of files with their hashes, in unpacked wheels."""
_CATALOGUE_EXTENSIONS = frozenset({"po", "pot", "mo", "gmo"})
_LOCK_NAMES = frozenset(
    _words(
        "package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock bun.lockb deno.lock Cargo.lock "
        "poetry.lock pdm.lock uv.lock pixi.lock Pipfile.lock conda-lock.yml pylock.toml composer.lock Gemfile.lock "
        "go.sum go.work.sum mix.lock rebar.lock pubspec.lock Podfile.lock Package.resolved Cartfile.resolved flake.lock "
        "packages.lock.json paket.lock gradle.lockfile .terraform.lock.hcl MODULE.bazel.lock Chart.lock buf.lock "
        "shard.lock renv.lock stack.yaml.lock cabal.project.freeze"
    )
)
VENDOR_FOLDERS = frozenset(
    _words(
        "vendor _vendor vendored _vendored node_modules bower_components jspm_packages third_party third-party "
        "thirdparty 3rdparty Godeps Pods Carthage site-packages dist-packages"
    )
)
_MINIFIED_ENDINGS = (".min.js", ".min.mjs", ".min.cjs", ".min.css", "-min.js", "-min.css")
_GENERATED_ENDINGS = tuple(
    _words(
        "_pb2.py _pb2.pyi _pb2_grpc.py _pb2_grpc.pyi .pb.go .pb.gw.go .pb.cc .pb.h .pb.swift .pb.dart .pbjson.dart "
        ".pbenum.dart _pb.js _pb.ts _pb.d.ts _pb.rb .g.dart .freezed.dart .g.cs .designer.cs .Designer.cs"
    )
)
_GENERATED_STARTS = ("zz_generated.",)

_HEADER_COMMENT = re.compile(rb"[ \t\xef\xbb\xbf]*(?:#|//|/\*|\*|--|;|%|<!--|\{-|\(\*)(.*)", re.DOTALL)
_GENERATED_COMMENT = re.compile(
    rb"\A[\W_]*@generated\b|\bis\b.{0,20}@generated\b|<auto-?generated\b|"
    rb"\b(?:code|file|source|auto(?:matically)?)[ -]?(?:is |was |has been )?(?:auto(?:matically)?[ -]?)?generated\b.*"
    rb"\bdo not (?:edit|modify)|"
    rb"\bgenerated (?:automatically |by |from )\S.*\bdo not (?:edit|modify)|\bdo not edit\b.*\bgenerated by\b|"
    rb"\A[\W_]*(?:auto)?generated by (?:cython|the protocol buffer compiler|thrift|swig|flex|bison|antlr)\b",
    re.IGNORECASE | re.DOTALL,
)


def _extension(name: str) -> str:
    return name.rpartition(".")[2].lower() if "." in name else ""


def reason_of_name(uri: str, settings: SourceSettings) -> str | None:
    """Why a file is skipped, as far as its path alone tells; None where its content decides."""
    folder, _, name = uri.rpartition("/")
    extension = _extension(name)
    if extension in _UNSUPPORTED_EXTENSIONS or name in _UNSUPPORTED_NAMES or uri.endswith(_UNSUPPORTED_ENDINGS):
        return UNSUPPORTED
    if extension in _CATALOGUE_EXTENSIONS:
        return None if settings.index_catalogues else CATALOGUE
    if extension in _BINARY_EXTENSIONS:
        return BINARY
    if name in _LOCK_NAMES:
        return LOCK_FILE
    if not settings.index_vendored and folder and not VENDOR_FOLDERS.isdisjoint(folder.split("/")):
        return VENDORED
    if name.endswith(_MINIFIED_ENDINGS):
        return MINIFIED
    if not settings.index_generated and (name.endswith(_GENERATED_ENDINGS) or name.startswith(_GENERATED_STARTS)):
        return GENERATED
    return None


def reason_of_content(content: bytes, lang: str, settings: SourceSettings) -> str | None:
    """Why a file is skipped that its name does not rule out; None: it is indexed."""
    if content.startswith(_UTF16_AND_32):
        return UNDECODABLE
    if content.find(b"\0", 0, _NUL_WINDOW) >= 0:
        return BINARY
    if decode(content, lang) is None:
        return UNDECODABLE
    if lang in ("javascript", "css") and len(content) > _MINIFIED_BYTES and _mean_line(content) > _MINIFIED_LINE:
        return MINIFIED
    if not settings.index_generated and _says_generated(content):
        return GENERATED
    return None


def judge(uri: str, content: bytes, size: int, settings: SourceSettings) -> tuple[str | None, str | None]:
    """(language, reason) of a regular file; reason None: it is indexed.

    `content` is all of it, or its beginning where `size` is over the limit. No language where there is no source to speak of.
    """
    reason = reason_of_name(uri, settings)
    if reason in (UNSUPPORTED, CATALOGUE, BINARY):
        return None, reason
    lang = language_of(uri, content).name
    if reason is None:
        reason = TOO_LARGE if size > settings.max_file_bytes else reason_of_content(content, lang, settings)
    return (None if reason == BINARY else lang), reason


def _mean_line(content: bytes) -> float:
    return len(content) / (content.count(b"\n") + 1)


def _says_generated(content: bytes) -> bool:
    """Whether one of the first lines is a comment that says so. A generator's own text does not count."""
    head = content[:_HEADER_BYTES]
    if b"enerated" not in head and b"ENERATED" not in head:
        return False
    lines = head.splitlines()[:_HEADER_LINES]
    for number, line in enumerate(lines):
        comment = _HEADER_COMMENT.match(line)
        if comment is None:
            continue
        # The sentence may go on in the next line of the comment.
        following = _HEADER_COMMENT.match(lines[number + 1]) if number + 1 < len(lines) else None
        text = comment[1] + b" " + (following[1] if following else b"")
        if b"enerated" in comment[1].lower() and _GENERATED_COMMENT.search(text):
            return True
    return False
