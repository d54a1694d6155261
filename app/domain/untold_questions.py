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
        }.items()
    }
)
"""By language, one question a line."""
