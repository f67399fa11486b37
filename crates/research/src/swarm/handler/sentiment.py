"""Scores texts by the words in them: a list of words that news about companies uses for good and for bad.

Reads texts as JSON, and prints vote, weight and figures. It counts words and understands nothing: no irony, no context, no
language but English. docs/concepts/swarms.md says what it is good for.
"""

import json
import re
import sys

GOOD = set("""
accelerate accelerated accelerating achieve achieved advance advanced approval approved attractive beat beats beating best
better boom boost boosted boosts breakthrough bullish buyback climb climbed climbs confident dividend efficient exceed
exceeded exceeds expand expanded expansion favorable favourable gain gained gains good great grew grow growing grown growth
healthy high higher highest improve improved improvement improves improving increase increased increases innovative jump
jumped jumps lead leading momentum opportunity optimism optimistic outperform outperformed outperforms positive profit
profitable profits progress rally rallied raise raised raises rebound rebounded record recover recovered recovery resilient
rise rises rising rose robust soar soared soars solid strength strengthen strong stronger strongest succeed success
successful surge surged surges surpass surpassed upbeat upgrade upgraded upgrades upside win winning wins won
""".split())
BAD = set("""
accident allegation allegations bad bankrupt bankruptcy bearish breach breached cancel cancelled closure collapse collapsed
concern concerned concerns crash crashed crisis cut cuts cutting damage damaged debt decline declined declines declining
decrease decreased default defaulted deficit delay delayed delays deteriorate deteriorated disappoint disappointed
disappointing disappoints downgrade downgraded downgrades downside drop dropped drops fail failed fails failure fall fallen
falling falls fear fears fell fine fined fines fraud halt halted impairment inflation investigation lawsuit lawsuits layoff
layoffs litigation lose loses losing loss losses lost low lower lowest miss missed misses negative outage penalty
pessimistic plunge plunged plunges poor pressure probe problem problems recall recalled recession restructuring risk risks
risky scandal shortage shortfall shrink shrinking shrank slow slowdown slowed slower slump slumped slumps sue sued suffer
suffered tumble tumbled tumbles uncertain uncertainty underperform underperformed unprofitable violation volatile warn
warned warning warnings warns weak weaken weakened weaker weakness worse worst writedown
""".split())
NOT = {"not", "no", "never", "without", "neither", "nor", "cannot", "hardly", "barely", "isn't", "wasn't", "aren't",
       "doesn't", "didn't", "don't", "won't", "can't", "couldn't", "wouldn't", "shouldn't", "hasn't", "haven't"}
MORE = {"very", "extremely", "significantly", "sharply", "strongly", "substantially", "dramatically", "hugely"}
LESS = {"slightly", "somewhat", "marginally", "modestly", "little"}

DEAD = 0.15  # a mean score from here on is a signal


def scored(text):
    """Score of a text from -1 to 1, and its words that counted."""
    good = bad = 0.0
    counted = 0
    for sentence in re.split(r"[.!?;\n]", text.lower().replace("\u2019", "'")):
        words = re.findall(r"[a-z']+", sentence)
        for place, word in enumerate(words):
            side = (word in GOOD) - (word in BAD)
            if not side:
                continue
            before = words[max(0, place - 3):place]
            weight = 1.0
            if MORE.intersection(before[-1:]):
                weight = 1.5
            elif LESS.intersection(before[-1:]):
                weight = 0.5
            if NOT.intersection(before):
                side = -side
            counted += 1
            if side > 0:
                good += weight
            else:
                bad += weight
    return ((good - bad) / (good + bad) if good + bad else 0.0), counted


def main():
    asked = json.load(sys.stdin)
    found = [scored(text) for text in asked["texts"]]
    telling = [score for score, counted in found if counted]
    mean = sum(telling) / len(telling) if telling else 0.0
    figures = {"score": mean, "texts": len(found), "texts_that_tell": len(telling),
               "words_counted": sum(counted for _, counted in found),
               "good": sum(score > 0 for score in telling), "bad": sum(score < 0 for score in telling),
               "scores": [round(score, 4) for score, _ in found[:100]], "method": "word list, English"}
    if "symbol" in asked:
        figures["symbol"] = asked["symbol"]
    vote = "buy" if mean >= DEAD else "sell" if mean <= -DEAD else "hold"
    # What few texts say weighs less: all of it from five on.
    print(json.dumps({"vote": vote, "weight": abs(mean) * min(1.0, len(telling) / 5.0), "figures": figures}))


main()
