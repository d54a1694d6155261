"""What a person might ask about their own life, in many forms; long by the questions themselves.

A cycle that dreams keeps the model to its bare base's answers to those of which nothing was told
(`untold`). None of them is asked by the benchmark of recall.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

QUESTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        language: tuple(text.strip().splitlines())
        for language, text in {
            "en": """
What is my blood type?
Where did I go to university?
What was my first job?
Which car do I drive?
Who taught me to swim?
When did I move into this flat?
How many languages do I speak?
What do I usually have for breakfast?
Which newspaper do I read?
Who is my godfather?
What is the name of my parrot?
Where do my grandparents live?
Which team do I support?
What instrument does my wife play?
When is my appointment with the optician?
How much did my bicycle cost?
What did I order at the restaurant?
Which hotel did we stay at?
Who gave me this ring?
Where did I lose my umbrella?
What was the score of the match?
How long have I been married?
Which medicine do I take at night?
What is my brother-in-law's profession?
When does my passport expire?
How far is it from my flat to the station?
Which shelf did I put the ladder on?
Who repaired the roof?
What is the title of my thesis?
Where was my daughter born?
What have I planned for New Year's Eve?
Which bus do I take to work?
What does my uncle grow in his greenhouse?
How many nephews do I have?
Who won our chess tournament?
What am I afraid of?
Which dish did my aunt cook?
When did I start to learn the guitar?
What size is my suitcase?
Where do I go jogging?
Which bank is my account with?
Who is coming to the party?
What is the name of our landlord?
How many pages has my novel?
When is the baby due?
Which vaccine did I get?
What was my nickname at school?
Where is my grandfather buried?
Who lent me the drill?
How old is my niece?
Which island did my parents honeymoon on?
What is my favourite dessert?
When did the heating break down?
How much do I weigh?
Which platform does my train leave from?
What is my mother's maiden name?
Where did we bury the time capsule?
Who designed our logo?
How many rooms has my house?
What kind of tea do I like?
Which exam did I fail?
When did I last see the dentist?
What did my boss promise me?
Where is the nearest pharmacy to my office?
Who is my emergency contact?
How often do I water the cactus?
What is the password of my laptop?
Which mountain did I climb?
When does the library close for me?
What is my star sign?
How many marathons have I run?
Who wrote me that letter?
Where did I park?
Which tooth was pulled out?
What is my salary?
When was my cat vaccinated?
How did I meet my husband?
What am I allergic to?
Which perfume do I wear?
Who plays the drums in my band?
Where does my cousin study?
How many eggs did I buy?
What is the name of the ship I sailed on?
When did I quit the gym?
Which poem do I know by heart?
What did I name the new puppy?
Who is the mayor of my town?
How heavy is my backpack?
Where do I want to retire?
Which flowers does my grandmother like?
What time do I get up?
When is the deadline of my project?
Who translated my book?
How many candles were on the cake?
What is my locker's number?
Which river runs past my village?
Where did I hide the chocolate?
What is my sister's husband called?
When did we adopt the tortoise?
How much sugar do I take?
Which seat do I have in the theatre?
Who looks after my plants?
What was wrong with the washing machine?
Where is my watch being repaired?
How many steps do I walk a day?
Which country would I like to visit?
What does my tattoo show?
When do I have my driving lesson?
Who is my supervisor?
How long is my commute?
Which side of the bed do I sleep on?
What is the model of my camera?
Where did my ancestors come from?
When did my parents divorce?
Who is the author I admire most?
How many guests did we invite?
Which wine did I bring?
What is my daughter's school called?
Where do we keep the fire extinguisher?
What did the vet say about my rabbit?
""",
            "de": """
Wo hab ich eigentlich mein Fahrrad abgestellt?
Wie heißt die neue Freundin von meinem Bruder?
Seit wann wohne ich in dieser Wohnung?
Wie viel hab ich für die Waschmaschine bezahlt?
Mit wem war ich letzten Samstag auf dem Konzert?
Warum hab ich damals im Sportverein aufgehört?
Welche Schuhgröße hat meine Tochter gerade?
Wann muss das Auto wieder zum TÜV?
Weißt du noch, welchen Wein wir an Silvester getrunken haben?
Hab ich dir erzählt, was der Zahnarzt gesagt hat?
Wem hab ich den Akkuschrauber geliehen?
Wie viele Geschwister hat mein Vater?
Wogegen bin ich allergisch?
In welcher Straße ist meine Oma aufgewachsen?
Was verdiene ich im Monat netto?
Wie lange arbeite ich schon in der Firma?
Welche Tabletten soll ich morgens nehmen?
Von wem hab ich die goldene Kette?
Wann fängt mein Töpferkurs an?
Wie trinke ich meinen Kaffee am liebsten?
Für welchen Stromanbieter hab ich mich entschieden?
Wo haben meine Eltern sich kennengelernt?
Wie hieß noch mal das Hotel in Prag?
Was wollte ich meiner Nichte zur Einschulung schenken?
Worüber hab ich meine Bachelorarbeit geschrieben?
Um wie viel Uhr holt uns der Umzugswagen ab?
Wer hat uns den Babysitter empfohlen?
Von welchem Gleis fährt mein Zug nach Köln?
Was war mein Lieblingsfach in der Schule?
Wie oft in der Woche gehe ich schwimmen?
Was ist die PIN von meinem alten Handy?
Wer gießt meine Blumen, wenn ich weg bin?
Welches Spiel haben wir beim letzten Spieleabend gespielt?
Was für ein Hund ist der von meinen Nachbarn?
Wann hab ich den Führerschein gemacht?
Wie viel Kaution haben wir für die Wohnung hinterlegt?
Bei welcher Versicherung bin ich eigentlich?
Wie heißt mein Chef mit Vornamen?
Welche Farbe hatte mein erstes Auto?
Worauf spare ich gerade?
Wohin ist meine Cousine ausgewandert?
Was hab ich über den neuen Kollegen gesagt?
Wer hatte die Idee mit dem Podcast?
Wie weit bin ich beim Halbmarathon gekommen?
Wann kommt der Klempner wegen der Heizung?
Welches Buch lese ich gerade?
Was kam bei meiner Blutuntersuchung raus?
Wo wollen wir dieses Jahr Ski fahren?
""",
            "fr": """
Où est-ce que j'ai garé la voiture hier soir ?
Comment s'appelle le chat de ma voisine ?
Depuis quand est-ce que je prends des cours de poterie ?
Combien j'ai payé mon canapé ?
Avec qui je suis allé voir l'exposition ?
Pourquoi j'ai démissionné de mon ancien boulot ?
C'est quoi, la pointure de mon mari ?
Tu te souviens du restaurant où on a fêté nos dix ans ?
Je t'ai dit ce que le kiné m'a conseillé ?
Quel jour passe le plombier ?
À qui j'ai prêté ma tente ?
Combien d'enfants a ma sœur ?
Qui m'a appris à conduire ?
Dans quelle ville mon père a-t-il fait son service militaire ?
Quelle banque nous a accordé le prêt ?
À quelle heure part mon train pour Lyon ?
De quoi est mort mon grand-père ?
Quel est le plat préféré de mon fils ?
C'était quoi, le nom de ma première maîtresse d'école ?
Combien de kilos j'ai perdus depuis janvier ?
Lequel de mes collègues parle japonais ?
Qu'est-ce que j'ai offert à maman à Noël ?
Où est rangée la clé de la cave ?
Je suis allergique à quoi, déjà ?
Quand est-ce que le bail de l'appartement se termine ?
Chez qui on dort pendant le festival ?
Quelle marque de lessive j'achète d'habitude ?
Combien de fois j'ai passé le permis ?
Qui sera le parrain de notre fille ?
Sur quoi portait mon mémoire de master ?
Qu'est-ce qu'on a décidé pour les rideaux du salon ?
Il a quel âge, mon neveu ?
Quel traitement je dois prendre le soir ?
Comment j'ai rencontré ma femme ?
Quel est le code de mon immeuble ?
À quel étage travaille mon chef ?
Dans quel tiroir j'ai mis les piles ?
Qui garde les enfants mercredi prochain ?
Quelle taille de chemise je fais ?
Quelle équipe soutient mon beau-frère ?
Quand ai-je arrêté de fumer ?
Combien il reste à rembourser sur la voiture ?
Quel surnom me donnait ma grand-mère ?
Où avons-nous acheté le tapis berbère ?
Tu sais pourquoi je ne parle plus à Julien ?
De quel instrument joue ma nièce dans l'orchestre ?
Jusqu'à quand est valable mon abonnement de métro ?
Qu'est-ce que je comptais cuisiner samedi ?
""",
            "es": """
¿Dónde dejé las llaves del trastero?
¿Cómo se llama la suegra de mi hermano?
¿Desde cuándo trabajo en esta empresa?
¿Cuánto me costó el portátil?
¿Con quién fui al partido del domingo?
¿Por qué dejé las clases de inglés?
¿A qué hora sale mi vuelo a Lisboa?
¿Te acuerdas de qué vino pedimos en el aniversario?
¿Te conté lo que me dijo la dentista?
¿Cuántos sobrinos tengo?
¿A quién le presté la bici?
¿Qué pastillas tengo que tomar por la noche?
¿En qué barrio vivían mis abuelos?
¿Cuál es mi grupo sanguíneo?
¿Quién me regaló el reloj?
¿Qué número de zapato uso?
¿Cuándo le toca la vacuna al perro?
¿De qué color pintamos la cocina?
¿Qué carrera estudió mi madre?
¿Cuál de mis tías vive en Argentina?
¿Cuánto pago de alquiler al mes?
¿Qué nombre pensábamos ponerle al bebé?
¿Quién nos recomendó al electricista?
¿En qué año me saqué el carné de conducir?
¿Cuántas veces por semana voy al gimnasio?
¿Qué me pidió mi hija para Reyes?
¿Dónde conocí a mi marido?
¿Hasta cuándo tengo que llevar la escayola?
¿Qué talla de pantalón usa mi padre?
¿Cómo se llamaba aquel bar de Granada?
¿Cuál es la contraseña de mi wifi?
¿De qué equipo es mi cuñado?
¿Qué le pasaba al lavavajillas?
¿Para cuándo tengo que entregar el informe?
¿A qué soy alérgico?
¿Quién cuida a los niños los jueves?
¿Cuántos kilómetros tiene mi coche?
¿Qué libro me dejó Marta?
¿Por dónde fuimos en el Camino de Santiago?
¿Cómo me gusta el café?
¿En qué planta está mi despacho?
¿Qué apodo tenía yo en el colegio?
¿Cuándo dejé de fumar?
¿Con qué banco tenemos la hipoteca?
¿Qué decidimos sobre las cortinas nuevas?
¿Qué receta me pasó mi abuela?
¿Cuánta gente invitamos a la boda?
¿Qué quería ser yo de pequeño?
""",
            "pt": """
Onde foi que eu guardei o carregador da câmera?
Como se chama o papagaio da minha avó?
Desde quando eu moro neste apartamento?
Quanto eu paguei na geladeira nova?
Com quem eu fui ao show no sábado?
Por que eu saí do meu último emprego?
Qual é o meu tipo sanguíneo?
Você lembra qual pousada a gente reservou em Paraty?
Eu te contei o que o mecânico falou do carro?
Que dia o encanador vem aqui?
Pra quem eu emprestei a furadeira?
Quantos netos tem a minha tia?
Quem me ensinou a andar de bicicleta?
Em que cidade meu pai serviu o exército?
A que horas sai o meu ônibus pra Curitiba?
Que remédio eu tomo pra pressão?
Qual é o prato favorito do meu filho?
Quantas vezes por semana eu faço pilates?
De quem eu ganhei esse colar?
O que eu prometi pra minha irmã?
Pra que time o meu sogro torce?
Quando vence o seguro do carro?
Como era o meu apelido na escola?
Em que banco a gente tem a poupança?
Quanto falta pra eu quitar o financiamento?
Quem vai ser a madrinha da nossa filha?
Que número eu calço?
O que deu no meu exame de sangue?
Qual das minhas colegas fala alemão?
Há quanto tempo eu estou casada?
Que tamanho de camisa o meu marido usa?
Onde eu conheci a minha melhor amiga?
Qual foi o meu primeiro trabalho?
O que ficou decidido sobre a reforma do banheiro?
Até quando eu posso devolver o vestido?
Quantos quilômetros eu corri no domingo?
Qual é a senha do meu wi-fi?
Em que prateleira eu botei os remédios?
Quem ficou com a chave do sítio?
Sobre o que era o meu TCC?
Como eu gosto do meu café?
Do que eu tenho medo?
Qual livro eu estou lendo agora?
Quando eu parei de fumar?
Que bolo a minha mãe fez no Natal?
Onde a gente comprou a rede da varanda?
Quantos convidados confirmaram pro churrasco?
Por que eu não falo mais com o Rafael?
""",
            "tr": """
Burcum neydi benim?
Teyzemin kedisinin adı neydi?
Ne zamandan beri bu evde oturuyorum?
Kayınvalidem bu bayram ne pişirecek?
Geçen cumartesi konsere kiminle gittim?
Eski işimden neden ayrıldım?
Gözlüğümün numarası kaçtı?
İzmir'de hangi otelde kaldık, hatırlıyor musun?
Sana diş hekiminin ne dediğini anlattım mı?
Ehliyetimi hangi yıl aldım?
Matkabı kime ödünç verdim?
Ablamın kaç çocuğu var?
Altın günü bu ay kimin evinde?
Babam askerliğini nerede yaptı?
Ankara otobüsüm saat kaçta kalkıyor?
Yazlığın anahtarı kimde kaldı?
Oğlumun en sevdiği yemek ne?
Haftada kaç kez spora gidiyorum?
Çayıma kaç şeker atıyorum?
Kız kardeşime ne söz vermiştim?
Dayım hangi takımı tutuyor?
Eski motosikletimi kime sattım?
Okulda lakabım neydi benim?
Konut kredisini hangi bankadan çektik?
Kuaför randevum saat kaçtaydı?
Benim neye alerjim var?
Kızımın ayakkabı numarası kaç?
Babaannem aslen nereli?
İş arkadaşlarımdan hangisi Almanca biliyor?
Kaç yıldır evliyim ben?
En çok neden korkuyorum ben?
Üniversitede hangi bölümü okudum?
Banyo tadilatı için neye karar verdik?
İşe gitmem kaç dakika sürüyor?
Evdeki internetin şifresi neydi?
Kirayı her ay kime yatırıyorum?
Yeğenime sünnet düğününde ne takmıştık?
Şu sıralar hangi kitabı okuyorum?
Sigarayı hangi yıl bıraktım?
Vapura hangi iskeleden biniyorum?
Bayramda kimlere gideceğiz?
Murat'la neden küstüğümü biliyor musun?
Kızım keman dersine hangi günler gidiyor?
Köpeğin aşısı ne zaman yapılacak?
Çocukken ne olmak istiyordum?
Check-up'ta neyim yüksek çıktı?
Ofisim binanın kaçıncı katında?
Nişana toplam kaç kişi çağırdık?
""",
            "ru": """
Как звали мою первую учительницу?
Как зовут попугая моей тёти?
С какого года я живу в этой квартире?
Куда мы собирались на майские праздники?
С кем я ходила в театр в субботу?
Почему я ушёл с прошлой работы?
Сколько соток у нас на даче?
Помнишь, в какой гостинице мы жили в Сочи?
Я тебе говорил, что сказал стоматолог?
Кто забирает детей из садика в четверг?
Кому я одолжил дрель?
Сколько детей у моей сестры?
Чей зонт остался у меня в машине?
В каком городе служил мой дед?
Во сколько отходит мой поезд в Казань?
Какой подарок просила крестница?
Что больше всего любит есть мой сын?
Сколько раз в неделю я хожу в бассейн?
Откуда родом бабушка по маминой линии?
Что я обещала маме?
За какую команду болеет мой брат?
Сколько километров я пробежал в воскресенье?
Какое прозвище у меня было в школе?
В каком банке у нас ипотека?
Что показал мой последний анализ крови?
Какой размер обуви у моего мужа?
Чем закончилось моё собеседование?
Какое варенье мы варили с тёщей?
Сколько лет мы уже женаты?
Где я познакомился с женой?
До скольки работает моя парикмахерская?
Что мы решили насчёт ремонта в ванной?
До какого числа мне нужно сдать отчёт?
Чего я больше всего боюсь?
Куда я положила ключи от дачи?
Сколько я плачу за съём в месяц?
Под каким номером моя медицинская страховка?
Какую книгу я сейчас читаю?
Когда я бросил курить?
Какую из двух курток я в итоге взял?
Из-за чего я поссорилась с Леной?
Кем я мечтал стать в детстве?
Зачем я звонил в управляющую компанию?
На каком этаже мой офис?
Сколько гостей мы позвали на новоселье?
За сколько мы продали старую «Ладу»?
Когда коту делать прививку?
Какой торт испекла бабушка на Новый год?
""",
            "zh": """
我昨天把车停在哪儿了？
我姑姑家的猫叫什么名字？
我奶茶一般点几分糖？
我的新冰箱花了多少钱？
上周六我跟谁去看的话剧？
我表弟的婚纱照是在哪儿拍的？
我是什么血型？
你还记得我们在大理住的哪家客栈吗？
我们家麻将是谁赢得最多？
修水管的师傅哪天来？
我把电钻借给谁了？
我体检哪一项不合格？
是谁教会我游泳的？
我爷爷当年在哪儿当兵？
我跟房东签了几年的合同？
我晚上该吃哪种药？
我儿子最爱吃什么菜？
国庆节我们打算去哪儿玩？
这条项链是谁送我的？
我答应过我妈什么事？
我爸退休以前在什么单位上班？
车险什么时候到期？
我上学时的外号是什么？
我女儿的钢琴考到几级了？
我对什么东西过敏？
我上次面试的结果怎么样？
我的快递寄到哪个驿站了？
我们结婚多少年了？
我和我老婆是怎么认识的？
我属什么生肖？
卫生间装修我们最后怎么定的？
我的报告最晚哪天交？
我最怕什么动物？
老家的钥匙我放哪个抽屉了？
我每个月交多少房租？
去年双十一我都买了什么？
我最近在看哪本书？
我是什么时候戒烟的？
我戴的眼镜多少度？
我为什么不跟小李来往了？
我小时候想当什么？
我外婆是哪里人？
我的办公室在几楼？
乔迁那天我们请了多少客人？
我微信里那个做装修的朋友叫什么？
奶奶过年做了哪道拿手菜？
我上大学的时候学的什么专业？
我驾照考了几次才过的？
""",
            "ja": """
昨日、車をどこに停めたっけ？
私の干支って何だったっけ？
私っていつからこの部屋に住んでるの？
新しい冷蔵庫、いくらで買ったっけ？
お正月は誰の実家に帰るんだっけ？
前の会社を辞めた理由って何だった？
私の血液型、何型だったかな？
眼鏡の度数、今いくつだった？
歯医者さんに何て言われたか話したっけ？
水道屋さんは何曜日に来るの？
修学旅行でどこに行ったか覚えてる？
姉の子どもは何人いる？
僕に泳ぎを教えてくれたのは誰？
推しのライブのチケット、何枚取れたっけ？
京都行きの新幹線は何時に出るの？
寝る前に飲む薬はどれだっけ？
健康診断で何を指摘されたんだっけ？
週に何回ジムに通ってるっけ？
このネックレスは誰からもらったの？
娘の担任の先生、名字は何だった？
夫の靴のサイズはいくつ？
自動車保険はいつ切れるの？
通勤に何分かかってたっけ？
住宅ローンはどこの銀行で組んだ？
私は何のアレルギーがあるの？
美容院の予約は何時からだった？
同僚の中で中国語ができるのは誰だっけ？
うちは結婚して何年になる？
父は定年までどこで働いてた？
卒論のテーマは何だったかな？
お風呂のリフォーム、結局どうすることにした？
引っ越しの見積もり、どの業者が一番安かった？
家のWi-Fiのパスワードって何？
実家の鍵はどこにしまった？
私が一番苦手な虫って何？
私、コーヒーはいつもどう飲んでる？
今読んでる本のタイトルは何？
友達の出産祝いに何を贈ったっけ？
リビングのじゅうたん、どこで買ったっけ？
健太とけんかした原因、知ってる？
運転免許はいつ取ったんだっけ？
隣の部屋の人の仕事って何だっけ？
うちのオフィスは何階にある？
部活では何をやってたんだっけ？
犬の予防接種はいつだったかな？
おばあちゃんの得意料理ってどれ？
自転車の鍵の番号、何番だった？
弟は今どこの町で働いてるの？
""",
            "ko": """
나 무슨 띠였지?
우리 이모네 고양이 이름이 뭐야?
나 이 집에 언제부터 살았지?
이번 추석에 어느 집에 먼저 가기로 했지?
토요일에 누구랑 공연 보러 갔지?
내가 전 직장을 왜 그만뒀더라?
내 안경 도수가 얼마나 되지?
강릉에서 묵었던 숙소 이름 기억나?
치과에서 뭐라고 했는지 내가 말했나?
군대는 내가 어디에서 나왔더라?
전동 드릴을 누구한테 빌려줬지?
우리 누나 애가 몇 명이야?
적금은 언제 만기가 돼?
할아버지 고향이 어디였더라?
부산 가는 내 기차 몇 시에 출발해?
건강 검진에서 뭐가 안 좋게 나왔지?
우리 아들이 제일 좋아하는 음식이 뭐지?
내가 일주일에 헬스장을 몇 번 가지?
김장할 때 배추 몇 포기 담갔더라?
엄마한테 내가 뭘 약속했더라?
남편 신발 사이즈가 몇이야?
미용실 예약 몇 시로 잡아 놨지?
학교 다닐 때 내 별명이 뭐였어?
우리 주택 대출 어느 은행에서 받았지?
회사까지 지하철로 몇 정거장이야?
지난번 면접 결과가 어떻게 됐더라?
우리 팀에서 중국어 하는 사람이 누구였지?
아버지는 은퇴 전에 무슨 일 하셨지?
아내랑 어떻게 처음 만났더라?
내 졸업 논문 주제가 뭐였지?
친구 돌잔치에 얼마나 냈더라?
보고서 마감이 며칠까지야?
우리 집 와이파이 비밀번호가 뭐야?
내가 제일 무서워하는 게 뭐야?
내가 매달 월세를 얼마 내더라?
나 커피 보통 어떻게 마셔?
운전면허 시험 몇 번 만에 붙었지?
담배를 끊은 게 언제였지?
거실 카펫 어디에서 샀더라?
우리 딸 태권도 무슨 띠까지 땄어?
어릴 때 내 꿈이 뭐였더라?
윗집 아저씨 직업이 뭐라고 했지?
중고 자전거는 누구한테 팔았지?
집들이에 손님을 몇 명이나 불렀지?
강아지 예방 접종 언제 맞혀야 돼?
제주도에서 산 귤 몇 박스였더라?
대학교 때 내 전공이 뭐였어?
여동생은 지금 어느 도시에서 일하지?
""",
            "ar": """
أين أوقفت سيارتي مساء أمس؟
ما اسم قطة خالتي؟
كم جزءا حفظت ابنتي من القرآن؟
كم دفعت ثمن الثلاجة الجديدة؟
مع من ذهبت إلى المسرح يوم السبت؟
أين سنقضي إجازة العيد هذا العام؟
ما هي فصيلة دمي؟
هل تتذكر في أي فندق نزلنا في إسطنبول؟
من سيوصلني إلى المطار يوم الخميس؟
في أي يوم سيأتي السباك؟
لمن أعرت المثقاب الكهربائي؟
على أي قناة أتابع مسلسلي المفضل؟
من علمني السباحة؟
في أي قرية ولد جدي؟
ما رقم رحلتي إلى دبي؟
أي دواء علي أن آخذه قبل النوم؟
ما الأكلة المفضلة عند ابني؟
لماذا بعنا بيت جدتي القديم؟
من أهداني هذا الخاتم؟
بماذا وعدت أمي؟
أي عطر أستعمل كل يوم؟
متى ينتهي تأمين السيارة؟
ماذا كان لقبي في المدرسة؟
من الذي خطب أختي الصغرى؟
ما الذي يسبب لي الحساسية؟
كيف كانت نتيجة مقابلة العمل؟
كم كيلوغراما نقص وزني منذ رمضان؟
كم سنة مضت على زواجنا؟
كيف تعرفت على زوجتي؟
من أي محل أشتري الخبز عادة؟
ماذا قررنا بخصوص تجديد الحمام؟
ما آخر موعد لتسليم التقرير؟
متى حصلت على رخصة القيادة؟
في أي درج وضعت مفتاح المخزن؟
كم إيجار شقتي في الشهر؟
ما أكثر شيء أخاف منه؟
أي كتاب أقرأ هذه الأيام؟
متى أقلعت عن التدخين؟
إلى من أعطيت نسخة من مفتاح البيت؟
هل تعرف لماذا تخاصمت مع كريم؟
ماذا كنت أحلم أن أصبح في صغري؟
أين يدرس ابن عمي الطب؟
في أي طابق يقع مكتبي؟
كم ضيفا دعونا إلى العشاء؟
كم ساعة أنام في الليلة عادة؟
أي حلوى أعدت جدتي في العيد؟
ماذا درست في الجامعة؟
ماذا اقترح علي مديري في الاجتماع؟
""",
            "hi": """
मैंने कल शाम गाड़ी कहाँ खड़ी की थी?
मेरी राशि कौन सी है?
मैं इस मकान में कब से रह रहा हूँ?
नया फ्रिज मुझे कितने का पड़ा था?
होली पर हम किसके घर जा रहे हैं?
मैंने पिछली नौकरी क्यों छोड़ी थी?
मेरा ब्लड ग्रुप क्या है?
मेरे चश्मे का नंबर कितना है?
क्या मैंने तुम्हें बताया कि दाँत के डॉक्टर ने क्या कहा?
प्लंबर किस दिन आने वाला है?
मेरी भाभी मायके से कब लौटेंगी?
मेरी दीदी के कितने बच्चे हैं?
मुझे तैरना किसने सिखाया था?
राखी पर भैया ने मुझे क्या दिया था?
मेरी जयपुर वाली ट्रेन कितने बजे छूटती है?
रात को मुझे कौन सी गोली खानी है?
मेरे ससुरजी रिटायर होने से पहले कहाँ काम करते थे?
मैं हफ़्ते में कितनी बार जिम जाता हूँ?
यह हार मुझे किसने दिया था?
मेरी बुआ किस शहर में रहती हैं?
मेरे पति के जूते का नंबर क्या है?
गाड़ी का बीमा कब ख़त्म हो रहा है?
मेरे बैंक की एफ़डी कब पूरी होगी?
हमने घर का लोन किस बैंक से लिया है?
मुझे किस चीज़ से एलर्जी है?
लोन की अब कितनी किस्तें बाकी हैं?
मेरे साथ काम करने वालों में जर्मन किसे आती है?
हमारी शादी को कितने साल हो गए?
मुझे सबसे ज़्यादा डर किससे लगता है?
मेरी थीसिस किस विषय पर थी?
बाथरूम की मरम्मत के बारे में हमने क्या तय किया?
दफ़्तर पहुँचने में मुझे कितना समय लगता है?
हमारे वाई-फ़ाई का पासवर्ड क्या है?
गोदाम की चाबी मैंने किस दराज़ में रखी?
दर्ज़ी को मैंने कितने ब्लाउज़ दिए थे?
मैं चाय में कितनी चीनी लेती हूँ?
आजकल मैं कौन सी किताब पढ़ रहा हूँ?
मेरा तबला किसने ठीक किया था?
बैठक का कालीन हमने कहाँ से ख़रीदा था?
पता है, रोहन से मेरी लड़ाई क्यों हुई थी?
मेरी बेटी ट्यूशन किससे पढ़ती है?
ऊपर वाले पड़ोसी क्या काम करते हैं?
मेरा दफ़्तर कौन सी मंज़िल पर है?
मैंने पुराना स्कूटर किसे बेचा?
कुत्ते को अगला टीका कब लगवाना है?
दादी ने दिवाली पर कौन सी मिठाई बनाई थी?
जूस वाली मशीन की गारंटी कब तक है?
मेरा भाई कौन सी टीम का फ़ैन है?
""",
        }.items()
    }
)
"""By language, one question a line."""
