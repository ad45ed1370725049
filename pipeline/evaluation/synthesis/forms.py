"""How people put one intent: as a sentence, as a few words, or as a question. By rules, without a model.

The rules know English verbs at the start of a sentence, as documentation is written ("Return the …", "Parses a …"). What they
do not know stays as it is.

Belongs here: from a sentence to a query. Not here: where sentences come from (`prose`).
"""

from __future__ import annotations

import re

from pipeline.evaluation.synthesis.prose import STOP_WORDS

SENTENCE, PHRASE, QUESTION = "sentence", "phrase", "question"
FORMS = (SENTENCE, PHRASE, QUESTION)

_MOST_WORDS, _MOST_ASKED = 7, 16
_ARTICLES = frozenset(("a", "an", "the"))
_DETERMINERS = _ARTICLES | frozenset("all any each every this that these those its whether if some one both".split())
_FOLLOWING = _ARTICLES | frozenset("all any each every its these those".split())
"""What follows a verb and seldom a noun."""
_NO_VERBS = (
    STOP_WORDS
    | _DETERMINERS
    | frozenset(
        "like there here two three first last after before called abstract base mixin helper wrapper class function".split()
    )
)
_LOOSE = STOP_WORDS - frozenset(
    "object objects method methods function class instance value values set sets true false none null".split()
)
"""Words that lead on to something: none of these ends a query."""
_PREPOSITIONS = frozenset("of in on at to for from by with without into onto over under about between as".split())
_VERBS = frozenset(
    """
    accept access acquire activate adapt add adjust aggregate allocate allow analyse analyze append apply archive
    assert assign attach authenticate authorize await backup begin bind block build cache calculate call cancel
    capture cast catch change check choose clean clear clone close coerce collapse collect combine compare compile
    compose compress compute concatenate configure confirm connect construct consume contain continue control
    convert copy count create crop cut deactivate deal debug decide decode decompress decorate decrease decrypt
    deduplicate define defer delete deliver deny deploy derive describe deserialize destroy detach detect determine
    disable discard disconnect discover dispatch display divide download draw drop dump duplicate edit emit enable
    encode encrypt end enforce enqueue ensure enter enumerate escape establish estimate evaluate examine execute
    exit expand expire export expose extend extract fail fetch fill filter finalize find finish fire flatten flip
    flush fold follow force forget format forward free freeze generate get give grant group guard guess handle hash
    help hide hold house identify ignore implement import include increase increment indent index infer inform inherit
    initialise initialize inject insert inspect install instantiate interpolate interpret intersect introspect
    invalidate invert invoke issue iterate join keep kill launch lex limit link list listen load locate lock log
    look lookup loop make manage map mark mask match measure merge migrate mock modify monitor mount move multiply
    negate normalise normalize notify obtain offer open order output overwrite pack pad paginate parse pass patch
    perform permit persist pick place plot poll pop populate post prefetch prepare prepend preserve prevent print
    process produce project propagate protect provide prune publish pull purge push put query queue quote raise
    randomize read rebuild receive recompute reconstruct record recover redirect reduce refresh register reject
    release reload remove rename render reorder repeat replace report represent request require reset resize resolve
    respond restart restore restrict resume retrieve retry return reverse revert revoke rewrite roll rotate round
    route run sample sanitise sanitize save scale scan schedule search seek select send serialise serialize serve
    set setup shift show shuffle shut shutdown sign simplify simulate skip sleep slice slugify sort specify split
    squash start stop store stream strip submit subscribe subtract sum suppress swap switch synchronise synchronize
    take tell terminate test throw toggle tokenise tokenize track transfer transform translate traverse treat
    trigger trim truncate try turn undo unescape uninstall unlock unpack unregister unwrap update upgrade upload use
    validate verify visit wait walk warn watch wrap write yield zip
    """.split()
)  # fmt: skip
_CLAUSE = frozenset(
    "which that when if so by using where because unless while since until before after but and or as with".split()
)
_GETTING = frozenset("return get yield give".split())
_STATING = frozenset("provide define represent contain hold describe include house collect".split())
"""Verbs that say what a thing is rather than what it does."""
_LEADS = frozenset("given if when for by in on with after before once unlike while during as at from".split())
_THING = (
    "function|method|class|module|helper|utility|tool|hook|callback|view|mixin|object|middleware|decorator|command|"
    "handler|factory"
)
_AROUND = re.compile(
    rf"(?i)(?:(?:this|the|an?) (?:[a-z]+ ){{0,2}}?)?(?:(?:{_THING})s? )+"
    r"(?:that |which )?(?:will |should |can |is used |can be used |used )?(?:to )?|"
    r"used to |(?:it )?will |this "
)
_TRUTH = re.compile(
    r"(?i)(?:(?:returns?|checks?|tells?|determines?|tests?) )?(?:whether(?: or not)?|(?:a )?true if|true when|true iff|if) "
)
_OTHERWISE = re.compile(r"(?i),? *(?:and |or |else |otherwise )(?:returns? )?false\b.*|,? *(?:false )?otherwise$")
_BREAK = re.compile(r"[,;(]|\s[-–—]\s")


def base_form(word: str) -> str | None:
    """The base form of a verb as sentences begin with one: `Returns`, `Returning` -> `return`; None for an unknown verb."""
    word = word.lower()
    if word in _VERBS:
        return word
    for ending, other in (("ies", "y"), ("es", ""), ("s", "")):
        if word.endswith(ending) and word[: -len(ending)] + other in _VERBS:
            return word[: -len(ending)] + other
    if word.endswith("ing") and len(word) > 5:
        stem = word[:-3]
        return next((base for base in (stem, stem + "e", stem[:-1]) if base in _VERBS), None)
    return None


def verb_and_rest(sentence: str) -> tuple[str, str] | None:
    """The verb that a sentence begins with, in its base form, and what follows it; None for any other sentence."""
    first, _, rest = sentence.partition(" ")
    word, slash, other = first.lower().partition("/")
    if not rest or not word.isalpha():
        return None
    verb = base_form(word)
    if verb is None and rest.partition(" ")[0] in _FOLLOWING and word.isascii() and word not in _NO_VERBS:
        # "Canonicalise the path": what stands before an article begins a sentence as a verb.
        if word.endswith(("ing", "ed")):
            return None
        verb = word[:-1] if word.endswith("s") and not word.endswith("ss") else word
    return None if verb is None else (verb + slash + other, rest)


def rendered(sentence: str, form: str, kind: str = "") -> str:
    """The sentence in one of `FORMS`; `kind` is that of the definition which it describes."""
    if form == PHRASE:
        return phrase(sentence)
    if form == QUESTION:
        return _question(sentence, kind)
    return f"{sentence}."


def phrase(sentence: str) -> str:
    """At most seven words of it, from what it is about, without a full stop."""
    sentence = _core(sentence)
    if truth := _TRUTH.match(sentence):
        sentence = _OTHERWISE.sub("", sentence[truth.end() :])
    elif (found := verb_and_rest(sentence)) is not None:
        sentence = found[1] if found[0] in _STATING or found[0] in _GETTING else " ".join(found)
    return _cut(_opened(sentence), _MOST_WORDS)


def purpose(sentence: str) -> str | None:
    """What is done, beginning with a verb in its base form; None where the sentence tells of no doing."""
    sentence = _core(sentence)
    if truth := _TRUTH.match(sentence):
        done = "tell whether " + _OTHERWISE.sub("", sentence[truth.end() :])
    elif (found := verb_and_rest(sentence)) is not None and found[0] not in _STATING:
        done = ("get " if found[0] in _GETTING else found[0] + " ") + found[1]
    else:
        return None
    return _cut(done, _MOST_ASKED, whole=True)


def _question(sentence: str, kind: str) -> str:
    if done := purpose(sentence):
        return f"how to {done}"
    sentence = _core(sentence)
    if found := verb_and_rest(sentence):
        return _cut(f"what {_third_person(found[0])} {found[1]}", _MOST_ASKED, whole=True)
    is_noun = sentence.lower().split(" ", 1)[0] in _ARTICLES
    if is_noun and kind in ("class", "struct", "interface", "trait"):
        return _cut(f"which {kind} is {_decapitalised(sentence)}", _MOST_ASKED, whole=True)
    first = sentence.lower().split(" ", 1)[0]
    if is_noun or (kind in ("class", "struct", "interface", "trait", "module") and first not in STOP_WORDS):
        return _cut(f"where {_copula(sentence)} {'' if is_noun else 'the '}{_decapitalised(sentence)}", _MOST_ASKED, whole=True)
    return f"{sentence}."


def _core(sentence: str) -> str:
    """What is said of the thing, without what stands around it: "Given a path, …", "This method …", "Helper function to …"."""
    first, comma, rest = sentence.partition(", ")
    if comma and first.lower().split(" ", 1)[0] in _LEADS and (verb_and_rest(rest) or _TRUTH.match(rest)):
        return rest
    if around := _AROUND.match(sentence):
        rest = sentence[around.end() :]
        if verb_and_rest(rest) is not None or _TRUTH.match(rest):
            return rest
    return sentence


def _copula(sentence: str) -> str:
    head = re.split(r" (?:of|for|to|in|on|from|with|that|which|used|by|and|as|at)\b", sentence, maxsplit=1)[0].rstrip(" ,")
    return "are" if re.search(r"[^sui]s$", head) and not sentence.lower().startswith(("a ", "an ")) else "is"


def _third_person(verb: str) -> str:
    return verb + ("es" if verb.endswith(("s", "sh", "ch", "x", "z")) else "s")


def _opened(text: str) -> str:
    """Without the articles and "whether" that it opens with, the first word in lower case."""
    first, _, rest = text.partition(" ")
    while rest and first.lower() in _ARTICLES | {"whether"}:
        first, _, rest = rest.partition(" ")
        text = f"{first} {rest}".strip()
    return _decapitalised(text)


def _decapitalised(text: str) -> str:
    """Its first word in lower case, unless that is a name."""
    first = text.partition(" ")[0]
    return text[0].lower() + text[1:] if first[1:].islower() or len(first) == 1 else text


def _cut(text: str, most: int, *, whole: bool = False) -> str:
    """As many words, cut where a clause ends if there is such a place, and without words that lead on to nothing."""
    head = _BREAK.split(text, maxsplit=1)[0].strip()
    if len(head.split()) >= 3:
        text = head
    words = text.split()
    if len(words) > most:
        words = words[: _clause_end(words, most)]
    while len(words) > 2 and words[-1].lower() in _LOOSE and not (whole and words == text.split()):
        words.pop()
    return " ".join(words).strip(" ,;:.")


def trimmed(text: str) -> str:
    """Without the words at both ends that lead to nothing: "of the", "for"."""
    words = text.split()
    while words and words[-1].lower().strip(",;:.") in _LOOSE:
        words.pop()
    while words and words[0].lower() in _LOOSE:
        del words[0]
    return " ".join(words).strip(" ,;:.")


def _clause_end(words: list[str], most: int) -> int:
    """Where to cut: in front of the last clause that begins within `most` words, else in front of what would be cut in two."""
    ends = [place for place in range(3, most + 1) if words[place].lower() in _CLAUSE or words[place - 1].endswith(",")]
    while len(ends) > 1 and ends[-1] - ends[-2] < 3:
        ends.pop()
    if not ends and words[most].lower() not in _LOOSE:
        ends = [place for place in range(3, most) if words[place].lower() in _PREPOSITIONS]
    return ends[-1] if ends and sum(word.lower() not in STOP_WORDS for word in words[: ends[-1]]) >= 3 else most
