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
        things: What few people tell of, to ask for where nobody did; separated by spaces.
        corrects: Words of a statement that takes an earlier one back.
        requests: Words that begin what asks for something instead of telling it.
        request_ends: Words that end such a sentence where the verb comes last; `-` for an ending.
        greetings: Words that may stand before either.
    """

    asks: tuple[str, ...]
    answer: str
    things: str = ""
    corrects: str = ""
    requests: str = ""
    request_ends: str = ""
    greetings: str = ""


ANY_LANGUAGE = DreamWords(asks=("{}?",), answer='"{}"')
"""Of a language that is not told: the words alone."""

DREAM_WORDS: Mapping[str, DreamWords] = {
    "en": DreamWords(
        asks=(
            "What did I tell you about {}?", "What do you know about {}?", "Do you remember {}?",
            "Tell me about {}.", "{}?", "What {}?", "Who {}?", "Where {}?", "When {}?",
            "Which {}?", "How many {}?", "How {}?", "What is {}?", "What {}?", "Who {}?",
            "Where {}?", "When {}?", "Which {}?", "How many {}?",
            "What is my {}?", "Who is my {}?", "Where is my {}?", "When is my {}?",
            "What is the name of my {}?", "Which {} do I have?", "How many {} do I have?",
            "What did I say about my {}?", "Where do I have my {}?", "What do I do with {}?",
            "When did I {}?", "Where did we {}?", "Which {} is ours?",
        ),
        answer='You told me: "{}"',
        things=(
            "samovar lighthouse theremin walnut tractor saddle compass lantern parrot attic "
            "balcony trumpet chimney uncle godmother plumber tailor aunt boss landlord barber "
            "exam recipe suitcase necklace carpet mirror umbrella ferry airport castle nephew "
            "museum novel song hobby rabbit salary allergy nickname signature lawyer hamster "
            "postcard medal sculpture violin helmet canoe vineyard orchard stable trainer guitar "
            "charger wallet jacket ladder tent oven drill bakery pharmacy canteen gym train "
            "interview concert surgery vaccination holiday lecture tournament rehearsal "
            "grandfather roommate colleague twin godson weight income rent mortgage tattoo "
            "surname password locker garage cellar greenhouse aquarium telescope bracelet watch"
        ),
        corrects=(
            "now wrong correct correction mistake changed instead actually moved anymore mistaken "
            "again longer sorry"
        ),
        requests=(
            "tell please describe explain write give list count imagine consider think show help "
            "say repeat summarize summarise translate make let continue try answer name can could "
            "would will what who where when which why how do does did is are was were have has "
            "should"
        ),
        greetings=(
            "hello hi hey good morning evening afternoon thanks thank you well so oh "
            "yes no ok okay sure and but by way"
        ),
    ),
    "de": DreamWords(
        asks=(
            "Was habe ich dir über {} erzählt?", "Was weißt du über {}?", "Erinnerst du dich: {}?",
            "{}?", "Was {}?", "Wer {}?", "Wo {}?", "Wann {}?", "Welche {}?", "Wie viele {}?",
            "Wie {}?",
        ),
        answer="Du hast mir gesagt: „{}“",
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
            "sag wiederhole kannst könntest was wer wo wann warum wie welche"
        ),
        greetings=(
            "hallo hi guten gute morgen abend tag danke ja nein ok okay also ach und "
            "aber übrigens"
        ),
    ),
    "fr": DreamWords(
        asks=(
            "Que t'ai-je dit de {} ?", "Que sais-tu de {} ?", "Tu te souviens : {} ?", "{} ?",
            "Quoi, {} ?", "Qui, {} ?", "Où, {} ?", "Quand, {} ?", "Quel, {} ?", "Combien, {} ?",
        ),
        answer="Tu m'as dit : « {} »",
        things=(
            "phare samovar selle boussole lanterne perroquet grenier balcon trompette cheminée "
            "oncle marraine plombier dentiste mariage examen valise tapis ferry château roman "
            "cheval lapin taille surnom médaille violon canoë"
        ),
        corrects="maintenant faux corrige correction changé plutôt finalement désormais trompé",
        requests=(
            "raconte décris explique écris donne montre aide dis répète peux pourrais que qui où "
            "quand pourquoi comment quel quelle"
        ),
        greetings="bonjour bonsoir salut merci oui non ok alors et mais ah",
    ),
    "es": DreamWords(
        asks=(
            "¿Qué te conté de {}?", "¿Qué sabes de {}?", "¿Te acuerdas de {}?", "¿{}?",
            "¿Qué {}?", "¿Quién {}?", "¿Dónde {}?", "¿Cuándo {}?", "¿Cuál {}?", "¿Cuántos {}?",
        ),
        answer="Me dijiste: «{}»",
        things=(
            "faro samovar brújula linterna loro desván balcón trompeta chimenea tío madrina "
            "fontanero dentista boda examen maleta alfombra ferry castillo novela caballo conejo "
            "estatura apodo medalla violín canoa"
        ),
        corrects="ahora equivoqué corrijo corrección cambió cambiado mejor realmente ya",
        requests=(
            "cuéntame describe explica escribe da dame muestra ayuda di repite puedes podrías qué "
            "quién dónde cuándo cómo cuál"
        ),
        greetings="hola buenos buenas días tardes noches gracias sí no ok vale pues y pero",
    ),
    "pt": DreamWords(
        asks=(
            "O que te contei sobre {}?", "O que sabes de {}?", "Lembras-te de {}?", "{}?",
            "O que {}?", "Quem {}?", "Onde {}?", "Quando {}?", "Qual {}?", "Quantos {}?",
        ),
        answer='Você me disse: "{}"',
        things=(
            "farol samovar bússola lanterna papagaio sótão varanda trompete chaminé tio madrinha "
            "encanador dentista casamento exame mala tapete balsa castelo romance cavalo coelho "
            "altura apelido medalha violino canoa"
        ),
        corrects="agora errado corrijo correção mudou mudado afinal enganei",
        requests=(
            "conta conte descreve explica escreve dá mostra ajuda diz repete podes pode poderia "
            "que quem onde quando como qual"
        ),
        greetings="olá oi bom boa dia tarde noite obrigado obrigada sim não ok então e mas",
    ),
    "tr": DreamWords(
        asks=(
            "{} hakkında sana ne söyledim?", "{} hakkında ne biliyorsun?", "{} hatırlıyor musun?",
            "{}?", "{} ne?", "{} kim?", "{} nerede?", "{} ne zaman?", "{} hangisi?", "{} kaç?",
        ),
        answer='Bana şunu söyledin: "{}"',
        things=(
            "fener semaver pusula papağan balkon trompet baca amca dişçi düğün sınav bavul halı "
            "vapur kale roman at tavşan lakap madalya keman kano"
        ),
        corrects="şimdi yanlış düzeltiyorum değişti artık aslında",
        requests="anlat açıkla yaz göster yardım söyle tekrarla ne kim nerede neden",
        request_ends="anlat anlatır açıkla yaz ver göster söyle tekrarla mısın misin musun müsün",
        greetings="merhaba selam teşekkürler evet hayır tamam peki",
    ),
    "ru": DreamWords(
        asks=(
            "Что я рассказывал тебе: {}?", "Что ты знаешь: {}?", "Ты помнишь: {}?", "{}?",
            "Что {}?", "Кто {}?", "Где {}?", "Когда {}?", "Какой {}?", "Сколько {}?",
        ),
        answer="Ты говорил мне: «{}»",
        things=(
            "маяк самовар седло компас фонарь попугай чердак балкон труба дядя крёстная сантехник "
            "дантист свадьба экзамен чемодан ковёр паром замок роман лошадь кролик рост прозвище "
            "медаль скрипка"
        ),
        corrects="теперь ошибся ошиблась исправляюсь поправка изменился изменилось вместо уже",
        requests=(
            "расскажи опиши объясни напиши дай покажи помоги скажи повтори расскажите опишите "
            "объясните напишите дайте покажите помогите скажите повторите пожалуйста что кто где"
        ),
        greetings="привет здравствуй здравствуйте спасибо да нет ладно ну а и но",
    ),
    "zh": DreamWords(
        asks=(
            "关于{}，我告诉过你什么？", "你知道{}的什么？", "你还记得{}吗？", "{}？", "{}是什么？",
            "{}是谁？", "{}在哪里？", "{}是什么时候？", "{}是哪一个？", "{}有多少？",
        ),
        answer="你告诉过我：“{}”",
        things=(
            "灯塔 茶炊 马鞍 指南针 灯笼 鹦鹉 阁楼 阳台 小号 烟囱 叔叔 牙医 婚礼 考试 行李箱 "
            "地毯 渡轮 城堡 小说 兔子 身高 绰号 奖牌"
        ),
        corrects="现在 错了 更正 改 其实 不再",
        requests="请 告诉我 帮我 给我 解释 描述 写",
        greetings="你好 您好 谢谢 好的 嗨",
    ),
    "ja": DreamWords(
        asks=(
            "{}について何を話しましたか？", "{}について何を知っていますか？",
            "{}を覚えていますか？", "{}？", "{}は何ですか？", "{}は誰ですか？",
            "{}はどこですか？", "{}はいつですか？", "{}はどれですか？", "{}はいくつですか？",
        ),
        answer="「{}」と話してくれました。",
        things=(
            "灯台 サモワール 羅針盤 提灯 オウム 屋根裏 バルコニー トランペット 煙突 叔父 "
            "歯医者 結婚式 試験 絨毯 フェリー 小説 身長 勲章"
        ),
        corrects="今は 間違い 訂正 変わ 実は やっぱり",
        request_ends="ください 下さい くれる くれますか もらえますか 教えて 書いて 手伝って",
        greetings="こんにちは こんばんは おはよう ありがとう はい いいえ ねえ",
    ),
    "ko": DreamWords(
        asks=(
            "{}에 대해 내가 뭐라고 했지?", "{}에 대해 뭘 알아?", "{} 기억나?", "{}?",
            "{} 뭐야?", "{} 누구야?", "{} 어디야?", "{} 언제야?", "{} 어느 거야?", "{} 몇 개야?",
        ),
        answer='이렇게 말했어요: "{}"',
        things=(
            "등대 사모바르 나침반 등불 앵무새 다락방 발코니 트럼펫 굴뚝 삼촌 치과의사 결혼식 "
            "시험 양탄자 여객선 소설 토끼 별명 메달"
        ),
        corrects="이제 틀렸 정정 바뀌었 사실 대신",
        request_ends="-주세요 -줘 -줄래 -해봐",
        greetings="안녕 안녕하세요 고마워 네 아니요 그래",
    ),
    "ar": DreamWords(
        asks=(
            "ماذا أخبرتك عن {}؟", "ماذا تعرف عن {}؟", "هل تتذكر {}؟", "{}؟", "ما {}؟", "من {}؟",
            "أين {}؟", "متى {}؟", "أي {}؟", "كم {}؟",
        ),
        answer="قلت لي: «{}»",
        things=(
            "منارة سماور بوصلة فانوس ببغاء شرفة بوق مدخنة عم سباك عرس امتحان سجادة عبارة قلعة "
            "رواية حصان أرنب لقب ميدالية كمان"
        ),
        corrects="الآن خطأ أصحح تغير بدلا أخطأت",
        requests="أخبرني صف اشرح اكتب أعطني ساعدني قل كرر ماذا أين متى لماذا كيف هل رجاء",
        greetings="مرحبا أهلا شكرا نعم لا حسنا",
    ),
    "hi": DreamWords(
        asks=(
            "मैंने तुम्हें {} के बारे में क्या बताया?", "तुम {} के बारे में क्या जानते हो?",
            "क्या तुम्हें {} याद है?", "{}?", "{} क्या?", "{} कौन?", "{} कहाँ?", "{} कब?",
            "{} कौन सा?", "{} कितने?",
        ),
        answer='तुमने मुझे बताया: "{}"',
        things=(
            "समोवार लालटेन तोता अटारी तुरही चिमनी चाचा दर्ज़ी शादी परीक्षा सूटकेस कालीन नाव "
            "क़िला उपन्यास घोड़ा खरगोश उपनाम पदक वायलिन"
        ),
        corrects="अब गलत सुधार बदल दरअसल",
        requests="बताओ समझाओ लिखो दिखाओ कृपया क्या कौन कहाँ",
        request_ends="बताओ बताइए समझाओ समझाइए लिखो लिखिए दो दीजिए दिखाओ दिखाइए करो कीजिए",
        greetings="नमस्ते नमस्कार धन्यवाद हाँ नहीं ठीक",
    ),
}  # fmt: skip
