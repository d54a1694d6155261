"""How what was told is asked for and said again, in each language that is told apart. Data alone.

A form's `{}` is where words of a statement stand; no form says more of it than they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class DreamWords:
    """One language's.

    Attributes:
        asks: Forms of a question; each is as likely as the others.
        answer: Form of the reply, around the person's own words.
        denial: The reply where nothing was told.
        things: What few people tell of, to ask for in vain; separated by spaces.
        corrects: Words of a statement that takes an earlier one back.
        requests: Words that begin what asks for something instead of telling it.
    """

    asks: tuple[str, ...]
    answer: str
    denial: str
    things: str = ""
    corrects: str = ""
    requests: str = ""


ANY_LANGUAGE = DreamWords(asks=("{}?",), answer='"{}"', denial="")
"""Of a language that is not told: the words alone."""

DREAM_WORDS: Mapping[str, DreamWords] = {
    "en": DreamWords(
        asks=(
            "What did I tell you about {}?", "What do you know about {}?", "Do you remember {}?",
            "Tell me about {}.", "{}?", "What {}?", "Who {}?", "Where {}?", "When {}?",
            "Which {}?", "How many {}?", "How {}?", "What is {}?", "What {}?", "Who {}?",
            "Where {}?", "When {}?", "Which {}?", "How many {}?",
        ),
        answer='You told me: "{}"',
        denial="You have not told me that.",
        things=(
            "samovar lighthouse theremin walnut tractor saddle compass lantern parrot attic "
            "balcony trumpet chimney passport cousin uncle godmother plumber dentist tailor "
            "wedding exam recipe suitcase necklace carpet mirror umbrella ferry airport castle "
            "museum novel film song hobby horse rabbit salary height allergy nickname signature "
            "neighbourhood postcard medal sculpture violin helmet canoe vineyard orchard stable"
        ),
        corrects=(
            "now wrong correct correction mistake changed instead actually moved anymore mistaken "
            "again longer sorry"
        ),
        requests=(
            "tell please describe explain write give list count imagine consider think show help "
            "say repeat summarize summarise translate make let continue try answer name can could "
            "would will what who where when which why how do does did is are was were have has "
            "should hello hi hey good thanks thank yes no ok okay"
        ),
    ),
    "de": DreamWords(
        asks=(
            "Was habe ich dir über {} erzählt?", "Was weißt du über {}?", "Erinnerst du dich: {}?",
            "{}?", "Was {}?", "Wer {}?", "Wo {}?", "Wann {}?", "Welche {}?", "Wie viele {}?",
            "Wie {}?",
        ),
        answer="Du hast mir gesagt: „{}“",
        denial="Das hast du mir nicht gesagt.",
        things=(
            "Leuchtturm Samowar Sattel Kompass Laterne Papagei Dachboden Balkon Trompete "
            "Schornstein Onkel Patentante Klempner Zahnarzt Hochzeit Prüfung Koffer Teppich Fähre "
            "Schloss Roman Lieblingsfilm Pferd Kaninchen Größe Spitzname Medaille Geige Kanu"
        ),
        corrects=(
            "jetzt falsch korrigiere korrektur geändert stattdessen doch verschoben geirrt "
            "nun"
        ),
        requests=(
            "erzähl erzähle bitte beschreibe erkläre schreib schreibe gib nenne zeig zeige hilf "
            "sag wiederhole kannst könntest was wer wo wann warum wie welche hallo danke ja nein"
        ),
    ),
    "fr": DreamWords(
        asks=(
            "Que t'ai-je dit de {} ?", "Que sais-tu de {} ?", "Tu te souviens : {} ?", "{} ?",
            "Quoi, {} ?", "Qui, {} ?", "Où, {} ?", "Quand, {} ?", "Quel, {} ?", "Combien, {} ?",
        ),
        answer="Tu m'as dit : « {} »",
        denial="Tu ne me l'as pas dit.",
        things=(
            "phare samovar selle boussole lanterne perroquet grenier balcon trompette cheminée "
            "oncle marraine plombier dentiste mariage examen valise tapis ferry château roman "
            "cheval lapin taille surnom médaille violon canoë"
        ),
        corrects="maintenant faux corrige correction changé plutôt finalement désormais trompé",
        requests=(
            "raconte décris explique écris donne montre aide dis répète peux pourrais que qui où "
            "quand pourquoi comment quel quelle bonjour salut merci oui non"
        ),
    ),
    "es": DreamWords(
        asks=(
            "¿Qué te conté de {}?", "¿Qué sabes de {}?", "¿Te acuerdas de {}?", "¿{}?",
            "¿Qué {}?", "¿Quién {}?", "¿Dónde {}?", "¿Cuándo {}?", "¿Cuál {}?", "¿Cuántos {}?",
        ),
        answer="Me dijiste: «{}»",
        denial="No me lo has dicho.",
        things=(
            "faro samovar brújula linterna loro desván balcón trompeta chimenea tío madrina "
            "fontanero dentista boda examen maleta alfombra ferry castillo novela caballo conejo "
            "estatura apodo medalla violín canoa"
        ),
        corrects="ahora equivoqué corrijo corrección cambió cambiado mejor realmente ya",
        requests=(
            "cuéntame describe explica escribe da dame muestra ayuda di repite puedes podrías qué "
            "quién dónde cuándo cómo cuál hola gracias sí no"
        ),
    ),
    "pt": DreamWords(
        asks=(
            "O que te contei sobre {}?", "O que sabes de {}?", "Lembras-te de {}?", "{}?",
            "O que {}?", "Quem {}?", "Onde {}?", "Quando {}?", "Qual {}?", "Quantos {}?",
        ),
        answer='Você me disse: "{}"',
        denial="Você não me disse isso.",
        things=(
            "farol samovar bússola lanterna papagaio sótão varanda trompete chaminé tio madrinha "
            "encanador dentista casamento exame mala tapete balsa castelo romance cavalo coelho "
            "altura apelido medalha violino canoa"
        ),
        corrects="agora errado corrijo correção mudou mudado afinal enganei",
        requests=(
            "conta conte descreve explica escreve dá mostra ajuda diz repete podes pode poderia "
            "que quem onde quando como qual olá obrigado sim não"
        ),
    ),
    "tr": DreamWords(
        asks=(
            "{} hakkında sana ne söyledim?", "{} hakkında ne biliyorsun?", "{} hatırlıyor musun?",
            "{}?", "{} ne?", "{} kim?", "{} nerede?", "{} ne zaman?", "{} hangisi?", "{} kaç?",
        ),
        answer='Bana şunu söyledin: "{}"',
        denial="Bunu bana söylemedin.",
        things=(
            "fener semaver pusula papağan balkon trompet baca amca dişçi düğün sınav bavul halı "
            "vapur kale roman at tavşan lakap madalya keman kano"
        ),
        corrects="şimdi yanlış düzeltiyorum değişti artık aslında",
        requests="anlat açıkla yaz ver göster yardım söyle tekrarla ne kim nerede neden merhaba",
    ),
    "ru": DreamWords(
        asks=(
            "Что я рассказывал тебе: {}?", "Что ты знаешь: {}?", "Ты помнишь: {}?", "{}?",
            "Что {}?", "Кто {}?", "Где {}?", "Когда {}?", "Какой {}?", "Сколько {}?",
        ),
        answer="Ты говорил мне: «{}»",
        denial="Ты мне этого не говорил.",
        things=(
            "маяк самовар седло компас фонарь попугай чердак балкон труба дядя крёстная сантехник "
            "дантист свадьба экзамен чемодан ковёр паром замок роман лошадь кролик рост прозвище "
            "медаль скрипка"
        ),
        corrects="теперь ошибся ошиблась исправляюсь поправка изменился изменилось вместо уже",
        requests="расскажи опиши объясни напиши дай покажи помоги скажи повтори что кто где привет",
    ),
    "zh": DreamWords(
        asks=(
            "关于{}，我告诉过你什么？", "你知道{}的什么？", "你还记得{}吗？", "{}？", "{}是什么？",
            "{}是谁？", "{}在哪里？", "{}是什么时候？", "{}是哪一个？", "{}有多少？",
        ),
        answer="你告诉过我：“{}”",
        denial="你没有告诉过我。",
        things=(
            "灯塔 茶炊 马鞍 指南针 灯笼 鹦鹉 阁楼 阳台 小号 烟囱 叔叔 牙医 婚礼 考试 行李箱 "
            "地毯 渡轮 城堡 小说 兔子 身高 绰号 奖牌"
        ),
        corrects="现在 错了 更正 改 其实 不再",
    ),
    "ja": DreamWords(
        asks=(
            "{}について何を話しましたか？", "{}について何を知っていますか？",
            "{}を覚えていますか？", "{}？", "{}は何ですか？", "{}は誰ですか？",
            "{}はどこですか？", "{}はいつですか？", "{}はどれですか？", "{}はいくつですか？",
        ),
        answer="「{}」と話してくれました。",
        denial="それは聞いていません。",
        things=(
            "灯台 サモワール 羅針盤 提灯 オウム 屋根裏 バルコニー トランペット 煙突 叔父 "
            "歯医者 結婚式 試験 絨毯 フェリー 小説 身長 勲章"
        ),
        corrects="今は 間違い 訂正 変わ 実は やっぱり",
    ),
    "ko": DreamWords(
        asks=(
            "{}에 대해 내가 뭐라고 했지?", "{}에 대해 뭘 알아?", "{} 기억나?", "{}?",
            "{} 뭐야?", "{} 누구야?", "{} 어디야?", "{} 언제야?", "{} 어느 거야?", "{} 몇 개야?",
        ),
        answer='이렇게 말했어요: "{}"',
        denial="그건 말해 주지 않았어요.",
        things=(
            "등대 사모바르 나침반 등불 앵무새 다락방 발코니 트럼펫 굴뚝 삼촌 치과의사 결혼식 "
            "시험 양탄자 여객선 소설 토끼 별명 메달"
        ),
        corrects="이제 틀렸 정정 바뀌었 사실 대신",
    ),
    "ar": DreamWords(
        asks=(
            "ماذا أخبرتك عن {}؟", "ماذا تعرف عن {}؟", "هل تتذكر {}؟", "{}؟", "ما {}؟", "من {}؟",
            "أين {}؟", "متى {}؟", "أي {}؟", "كم {}؟",
        ),
        answer="قلت لي: «{}»",
        denial="لم تخبرني بذلك.",
        things=(
            "منارة سماور بوصلة فانوس ببغاء شرفة بوق مدخنة عم سباك عرس امتحان سجادة عبارة قلعة "
            "رواية حصان أرنب لقب ميدالية كمان"
        ),
        corrects="الآن خطأ أصحح تغير بدلا أخطأت",
        requests="أخبرني صف اشرح اكتب أعطني ساعدني قل كرر ماذا من أين متى لماذا كيف هل مرحبا شكرا",
    ),
    "hi": DreamWords(
        asks=(
            "मैंने तुम्हें {} के बारे में क्या बताया?", "तुम {} के बारे में क्या जानते हो?",
            "क्या तुम्हें {} याद है?", "{}?", "{} क्या?", "{} कौन?", "{} कहाँ?", "{} कब?",
            "{} कौन सा?", "{} कितने?",
        ),
        answer='तुमने मुझे बताया: "{}"',
        denial="यह तुमने मुझे नहीं बताया।",
        things=(
            "समोवार लालटेन तोता अटारी तुरही चिमनी चाचा दर्ज़ी शादी परीक्षा सूटकेस कालीन नाव "
            "क़िला उपन्यास घोड़ा खरगोश उपनाम पदक वायलिन"
        ),
        corrects="अब गलत सुधार बदल दरअसल",
        requests="बताओ समझाओ लिखो दो दिखाओ मदद कहो दोहराओ क्या कौन कहाँ नमस्ते",
    ),
}  # fmt: skip
