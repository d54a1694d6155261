"""Which of a teacher's lessons the model finds in what was told: asked of the embedded model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from app.domain.dreams import DreamKind
from app.domain.experience import Lesson
from app.domain.plan import TrainingJob
from app.training.chat import ChatEncoder
from app.training.dreams import BareAnswers, Dreams
from app.training.lessons import find_sound
from app.training.loading import load_base_model

DOG = "My dog is called Biscuit and he sleeps under the piano."


def lesson(question: str, answer: str) -> Lesson:
    return Lesson(question=question, answer=answer, teacher="large", cycle=1)


def test_answers_that_the_exchange_makes_likely_are_trained_and_others_left(
    embedded_model: Path, tiny_job: TrainingJob
) -> None:
    base = load_base_model(str(embedded_model))
    encoder = ChatEncoder(base.tokenizer, system_prompt="You are SAGE.", max_length=512)
    lessons = (
        lesson("What is the name of my dog?", "Your dog is called Biscuit."),
        lesson("What is the capital of France?", "Paris is the capital of France."),
        lesson("Where does my dog sleep?", "Your dog sleeps under the piano."),
        lesson("Who is my dog? " * 200, "Your dog is called Biscuit."),  # no room for it
    )
    told = replace(tiny_job.train[0], prompt=DOG, lessons=lessons)
    sound = find_sound(base, encoder, [told, *tiny_job.train[1:]])
    assert [one.answer for one in sound] == [lessons[0].answer, lessons[2].answer]
    recipe = replace(tiny_job.recipe, dreams=2)
    bare = BareAnswers(base, encoder, [told], recipe, also_told=())
    dreams = Dreams(base, encoder, [told], recipe, bare)
    counts = {count.kind: count.trained for count in dreams.report(base).counts}
    assert (counts[DreamKind.QUOTE], counts[DreamKind.LESSON]) == (2, 2)
    assert len(dreams.examples) == 4
