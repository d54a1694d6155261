"""Which language a reply is in, by its script and its commonest words; English unless shown.

English is what the scorer was made for, and stays what it is taken for without evidence: other
rules apply to a reply only where another script carries most of it, or where words that English
does not have outnumber those that it does. So what is told is `en`, one of the languages that the
scorer has terms of (`app.domain.terms`), or `und`, as BCP 47 calls a language that is not told.

The lists hold words that nearly every sentence holds; `-Latn` are languages of other scripts as
people type them in Latin letters, whose terms nobody spells alike, so that they are not told; what
English has, too (`women`, `net`), is left out of those. Must not know what the language is for.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from app.domain.scripts import HAN, KANA, bare_words, beyond_ascii, fold, is_abjad
from app.domain.words import reply_words

ENGLISH = "en"
UNKNOWN = "und"

SAMPLE_CHARACTERS = 4096
"""So much of a reply is looked at: its language does not change."""

_COMMON_WORDS: Mapping[str, str] = {
    "en": (
        "the and of that to you with this for are have not it what but from they your is was be on "
        "as my me i an a in or will would can do does did how there their which when who about if "
        "more some could so than then been has had were our we us he she his her him its just like "
        "into over also because let here one all no at by am yes very too where why these those "
        "only own other out up down now well may might must should rather perhaps possibly feel "
        "sense realize understand appreciate curious interesting important fascinating profound "
        "together collaborate partnership specifically precisely exactly particular unclear "
        "uncertain actually instead correction mistake notice recognize sure know don't i'm it's "
        "said again after before every each any much many most"
    ),
    "de": (
        "der die das und ist nicht ich du wir sie er es ein eine einen einem einer den dem des mit "
        "auf für von zu im ist sind war auch sich aber oder wie was wenn dass als nach bei noch "
        "nur dann kann mir mich dir dich uns hat habe haben wird werden so aus an am zum zur über "
        "diese dieser dieses mein dein sein ihr kein keine ja nein sehr hier da doch"
    ),
    "fr": (
        "le la les un une des de du et est pas que qui je tu nous vous il elle on ce cette ces "
        "dans pour avec sur au aux en ne se sa son ses mon ma mes ton ta plus mais ou où comme si "
        "tout très bien être avoir suis sont était fait oui non d l qu c j n s y votre notre même"
    ),
    "es": (
        "el la los las un una de del y es no que en por para con se su sus lo le al como más pero "
        "o si me te mi tu yo él ella nos esta este eso esto está son era ser muy también cuando "
        "donde qué cómo hay tiene sin sobre ya hasta porque desde sí usted todo"
    ),
    "pt": (
        "o a os as um uma de do da dos das e é não que em no na nos nas por para com se seu sua ao "
        "como mais mas ou eu você ele ela isso isto esta este está são era ser muito também quando "
        "onde já até porque sim tem meu minha num numa pelo pela foi"
    ),
    "tr": (
        "bir ve bu da de için ile çok ne mi mı mu mü ben sen biz siz o değil var yok ama gibi daha "
        "en kadar sonra olarak her şey ki ya evet hayır nasıl neden şu beni seni bana sana benim "
        "olan olduğunu veya çünkü bugün şimdi hem hiç böyle kendi bunu buna onu ona önce eğer evet "
        "hayır elbette"
    ),
    "it": (
        "il lo la i gli le un una di del della dei e è non che in per con si mi ti ci sono ma come "
        "più anche questo questa nel nella al alla se da o ho hai ha io tu noi sì molto perché cosa"
    ),
    "nl": (
        "de het een en van ik je we ze niet is dat die met op voor te in zijn was er aan ook als "
        "maar om naar dan nog wel kan heb heeft wat hoe bij uit door over jij mij dit deze geen ja"
    ),
    "sv": (
        "och att det som en ett är jag du vi inte på för med av till den har om kan så men de hur "
        "var han hon från eller mig dig när också mycket ja nej"
    ),
    "da": (
        "og at det som en et er jeg du vi ikke på for med af til den har om kan så men de hvordan "
        "var han hun fra eller mig dig når også meget ja nej hvad ved sig blev efter"
    ),
    "no": (
        "og at det som en et er jeg du vi ikke på for med av til den har om kan så men de hvordan "
        "var han hun fra eller meg deg når også mye ja nei hva ved seg ble etter"
    ),
    "fi": (
        "ja on ei se että en hän olen ovat oli mutta kun niin kuin minä sinä me tämä joka mitä "
        "myös jos tai voi ole hyvin kanssa vain sen miten"
    ),
    "pl": (
        "i w na z do nie się to jest że o jak co ja ty my ale za od po dla czy tak przez już tylko "
        "może być są był była mnie ci ten ta te który oraz bardzo jego"
    ),
    "cs": (
        "a v na se je to že s z do i o k ne ale jako za pro by jsem jsme jsi jsou byl byla co jak "
        "tak když nebo už jen mi ti ten ta ve který velmi ano"
    ),
    "sk": (
        "a v na sa je to že s z do aj o k nie ale ako za pre by som sme si sú bol bola čo tak keď "
        "alebo už len mi ti ten tá vo ktorý veľmi áno"
    ),
    "hu": (
        "a az és nem hogy egy is van de ez azt meg csak ha mint én te mi nagyon már volt vagy "
        "lehet kell igen itt ott nekem akkor amikor"
    ),
    "ro": (
        "și si de la în nu că o un este a cu pe să se pentru din mai ce care eu tu noi sunt dar "
        "cum foarte sau al ale îmi ai am când da"
    ),
    "id": (
        "yang dan di itu dengan untuk tidak ini dari dalam akan pada juga saya kamu kita kami anda "
        "adalah bisa atau ada ke mereka sudah apa bagaimana karena lebih seperti"
    ),
    "vi": (
        "và của là có không một cho được với trong này đó các những tôi bạn chúng ta người đã khi "
        "như để thì cũng về ở từ rất gì nào hơn"
    ),
    "tl": "ang ng mga sa na ay at ko mo ako ikaw siya tayo kami hindi ito para kung may ba din rin",
    "sw": "na ya wa kwa ni katika la za hii hiyo mimi wewe sisi kama lakini sana kuwa si hapa",
    "ca": "el la els les un una de del i és no que en per amb es però com més també jo tu són molt",
    "hr": "i u na je se da ne to sa za su od kao što ali ja ti mi smo si bio bila samo kako ako",
    "lt": "ir yra ne kad į su tai kaip bet aš tu mes jis ji labai tik ar buvo iš nuo dėl apie savo",
    "lv": "un ir ne ka ar tas kā bet es tu mēs viņš viņa ļoti tikai vai bija no par uz kas lai",
    "et": "ja on ei et see ta ma sa me kui aga ka oli või mis kes siis väga oma seda nii ning mida",
    "sq": "dhe në e të një që për me nuk është si ai ajo unë ti ne por nga ka më shumë kjo ky duke",
    "af": "die en van is nie dat het ek jy ons om te in vir met op sy wat was maar kan hoe baie",
    "eu": "eta da ez bat dut dira hau hori zen ere baina nola oso zer dugu izan egin du naiz gara",
    "cy": "y yr yn a i o ar mae ac am ei ein nid dw ddim bod roedd hwn hon gyda sut beth chi fi",
    "ga": "an na agus is ar ag i le tá ní go sé sí mé tú sinn bhí nach ach seo sin an-mhaith mar",
    "eo": "la kaj de en estas ne mi vi ni li ŝi ke al por kun sed kiel tio ĉi pli tre ĝi oni",
    "so": "iyo waa in ka ku la ah oo ma aan waxa uu ay wax sida laakiin aad si markii",
    "ha": "da na a ne ce ba ya ta mu ku su wannan amma kuma don shi ita yana akwai sosai",
    "yo": "ni ti ati ko mo o wa fun si pe awa ẹ náà jẹ kí ṣe tí àti ní sí",
    "zu": "ukuthi futhi kodwa ngoba mina wena thina lokhu kakhulu nje uma noma yini kanjani",
    "la": "et in est non ad cum sed quod ut qui quae si ex de per ab esse sunt nos ego tu",
    "is": "og að er ekki það sem í á en við ég þú hann hún með til um var af fyrir þetta mjög",
    "hi-Latn": (
        "hai hain hoon hu mein ka ki ke ko se aur nahi nahin kya yeh woh aap hum tum mujhe tha thi "
        "raha rahe rahi kar karna karte bahut lekin kuch sab apne toh bhi hota mera tera ek iska "
        "uska kyon kyun yahan wahan agar phir liye sakte"
    ),
    "ar-Latn": (
        "ana enta inta enti mish msh el fi 3ala 3la ma3 bas ya3ni dah leh wala lazem ehna "
        "e7na howa heya kol kda keda kont 3ashan momken enni enno elli illi hena shu mafi hayda"
    ),
    "ru-Latn": (
        "ya ty vy ona eto chto kak ne na ot po dlya tak ili yest byl bylo budet mne menya tebya "
        "ochen esli kogda uzhe tolko nego mozhno i o v"
    ),
    "el-Latn": (
        "kai tis tou den einai mou sou na tha gia apo oti pou ti poly mas sas esy alla mia "
        "sto stin auto edo ena mporoume"
    ),
    "zh-Latn": (
        "wo ni ta nimen tamen de shi bu zai le zhe shenme zenme yige dou hui neng keyi hao "
        "dao yi zhege meiyou"
    ),
    "ja-Latn": (
        "watashi wa desu masu kara ni wo ga kono sono nani deshita masen anata kore dakara "
        "mashita shimasu imasu arimasu koto mashou"
    ),
    "bn-Latn": "ami tumi apni ki na kore ekta ache hobe amar tomar amra kintu ar khub je ebong",
    "uk-Latn": "ya ty vy tse shcho ne na yak ale abo dlya bulo duzhe mene razom yakshcho koly vzhe",
    "fa-Latn": "shoma ast va ke az ra baraye nist mikonam kheyli khub chera chetor hast bood mishe",
    "he-Latn": "ani ata anachnu aval gam shel ze lo ken yesh ein rak tov toda lama eich efshar",
    "ta-Latn": "naan nee enna illai ungal enakku irukku indha oru adhu idhu romba naanga aanal",
    "ko-Latn": (
        "jeoneun naneun jega uri urineun geu jeongmal gachi hamnida imnida seumnida ieyo yeyo "
        "haeyo isseoyo eopseoyo mwo wae geurigo hajiman jom neomu"
    ),
}  # fmt: skip


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ENGLISH = _words(_COMMON_WORDS[ENGLISH])
_LANGUAGES_OF: dict[str, tuple[str, ...]] = {}
for _language, _text in _COMMON_WORDS.items():
    if _language != ENGLISH:
        for _word in _words(fold(_text)):
            _LANGUAGES_OF[_word] = (*_LANGUAGES_OF.get(_word, ()), _language)
_OTHER = frozenset(_LANGUAGES_OF)

TOLD = frozenset({"de", "fr", "es", "pt", "tr", "ru", "zh", "ja", "ko", "ar", "hi"})
"""What is told apart, besides English; every other language is unknown."""

MIN_COMMON_WORDS = 2
"""So few English texts may hold by chance, "die hard"; a letter that English lacks makes up for
one of them."""

SIGNS_PER_WORD: Mapping[str, float] = {
    "en": 4.4, "de": 5.0, "fr": 5.1, "es": 4.6, "pt": 4.5, "ru": 4.2, "tr": 4.2,
    "ar": 3.3, "hi": 4.2, "zh": 1.6, "ja": 2.3, "ko": 2.1,
}  # fmt: skip
"""How many signs say what one English word says, spaces aside: of the replies that the tests bring,
which say the same in each language (`tests/domain/said_alike.json`)."""

UNKNOWN_SIGNS_PER_WORD = 4.8
ABJAD_SIGNS_PER_WORD = 3.2
"""Of Hebrew, Persian and their like, which leave vowels out. Both follow from the Universal
Declaration of Human Rights in some thirty languages beside the English one."""

MIN_SURE_WORDS = 3
"""With so many English words, and no fewer than all others have together, no more is looked at."""

_OTHER_SCRIPT = re.compile(
    "[\u0370-\u1cff\u1d00-\u1dbf\u1f00-\u1fff\u2c00-\u2dff\u3005-\u3007\u3021-\u3029\u3031-\u3035"
    "\u3041-\u309f\u30a1-\u30fa\u30fc-\ud7ff\uf900-\ufaff\ufb13-\ufdff\ufe70-\ufefe\uff66-\uffdc"
    "\U00010000-\U0001efff\U00020000-\U0003ffff]+"
)
_LATIN = re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]+")
_ACCENTED = re.compile("[¡¿\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]")
_HAN = re.compile(f"[{HAN}]+")
_KANA = re.compile(f"[{KANA}]+")

_TELLING_LETTERS = (("tr", "ğı"), ("es", "ñ¿¡"), ("pt", "ãõ"), ("de", "ß"), ("fr", "œ"))
"""What no other of the languages that are told writes; each sign counts as a word."""

_SCRIPTS: tuple[tuple[str, re.Pattern[str], float], ...] = (
    ("ru", re.compile("[\u0400-\u052f\u1c80-\u1c8f]+"), 1.0),
    ("ar", re.compile("[\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefe]+"), 1.3),
    ("hi", re.compile("[\u0900-\u097f\ua8e0-\ua8ff]+"), 1.0),
    ("ko", re.compile("[\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff]+"), 2.2),
    ("ja", _KANA, 2.0),
    ("zh", _HAN, 3.0),
)
"""How many Latin letters one of each script's says as much as, about."""

_NOT_RUSSIAN = re.compile("[іїєґўђјљњћџѓќѕәғқңөұүһӣӯҷҳѝ]")
_NOT_ARABIC = re.compile("[پچژگکیےٹڈڑںہھۀۂێۆڵڕۇۈۋەېټډړښځڅګڼۍ]")
_RUSSIAN_LETTERS = re.compile("[ыэё]")
_NEAR_RUSSIAN = _words(
    "е са съм се че това тази няма ще със какво аз ние беше си це що дуже але чи як"
)
"""Words of Bulgarian and Ukrainian that hold no letter of theirs alone."""

_NOT_HINDI = _words(
    "आहे आणि आहेत मी तू आम्ही तुम्ही नाही हे हा ही ते होते छ छन् हो म तिमी हामी र गर्न भयो "
    "लागि पनि व या त्या ला असे किंवा त्याच्या आपल्या कोणत्याही प्रत्येक"
)
_HINDI = _words("है हैं और नहीं मैं हम का की के को में से यह वह था थी थे हूँ आप पर")


@lru_cache(maxsize=64)
def find_language(text: str) -> str:
    """The language of a reply: `en`, one of `TOLD`, or `und`; the last 64 are kept."""
    sample = text[:SAMPLE_CHARACTERS]
    if not sample.isascii():
        other = "".join(_OTHER_SCRIPT.findall(beyond_ascii(sample)))
        if other and (found := _find_by_script(sample, other)) is not None:
            return found
    return _find_by_words(sample)


def common_words(language: str) -> frozenset[str]:
    """Words that nearly every text of a language holds, folded; none of one without a list."""
    return _words(fold(_COMMON_WORDS.get(language, "")))


def signs_per_word(text: str, language: str) -> float:
    """How many signs of a text in a language say what one English word says."""
    if language in SIGNS_PER_WORD:
        return SIGNS_PER_WORD[language]
    return ABJAD_SIGNS_PER_WORD if is_abjad(text) else UNKNOWN_SIGNS_PER_WORD


def english_words(text: str, language: str) -> float:
    """How many English words say the same as a text in another language, about."""
    return sum(map(len, text.split())) / signs_per_word(text, language)


def _find_by_script(sample: str, other: str) -> str | None:
    """The language of what is not Latin in a reply, or None where most of it is Latin."""
    weights = {
        language: weight * sum(map(len, letters.findall(other)))
        for language, letters, weight in _SCRIPTS
    }
    rest = len(other) - sum(round(weights[language] / weight) for language, _, weight in _SCRIPTS)
    latin = sum(map(len, _LATIN.findall(sample)))
    if sum(weights.values()) + rest <= latin:
        return None
    # Han and kana are written together: a little kana makes it Japanese.
    if 20 * weights["ja"] > weights["zh"]:
        weights["ja"] += weights.pop("zh")
    language = max(weights, key=weights.__getitem__)
    if rest > weights[language]:
        return UNKNOWN
    return language if _is_itself(language, sample) else UNKNOWN


def _is_itself(language: str, sample: str) -> bool:
    """Whether what is written in a language's script is in that language, as far as is told."""
    text = fold(sample)
    match language:
        case "ru":
            words = frozenset(bare_words(text).split())
            is_russian = _RUSSIAN_LETTERS.search(text) is not None
            return not _NOT_RUSSIAN.search(text) and (is_russian or not words & _NEAR_RUSSIAN)
        case "ar":
            return not _NOT_ARABIC.search(sample)
        case "hi":
            words = frozenset(bare_words(text).split())
            return "ळ" not in text and (len(words & _NOT_HINDI) <= max(1, len(words & _HINDI)))
        case _:
            return True


def _find_by_words(sample: str) -> str:
    """The language of a reply in Latin letters."""
    words = reply_words(sample).distinct
    english = len(_ENGLISH.intersection(words))
    found = _OTHER.intersection(words)
    if english >= max(len(found), MIN_SURE_WORDS):
        return ENGLISH
    return _weigh_words(sample, fold(sample))


def _weigh_words(sample: str, folded: str) -> str:
    """The language with the most of its common words in a reply."""
    words = bare_words(folded).split()
    english = len(_ENGLISH.intersection(words))
    counts = Counter(
        language for word in _OTHER.intersection(words) for language in _LANGUAGES_OF[word]
    )
    accented = len(_ACCENTED.findall(sample))
    small = sample.lower()
    counts.update(
        language for language, letters in _TELLING_LETTERS for each in letters if each in small
    )
    if counts:
        # Of equals the first listed: those that have terms stand before those that have none.
        most = max(counts.values())
        language = next(each for each in _COMMON_WORDS if counts[each] == most)
        if most > english and most + min(accented, 1) >= MIN_COMMON_WORDS:
            return language if language in TOLD and "ə" not in folded else UNKNOWN
    return UNKNOWN if accented > 3 and not english else ENGLISH
