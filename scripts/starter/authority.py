"""The invented public authority that the starter model is customised for, and its facts.

Ten services with five attributes each and twelve terms: 62 facts. The base corpus holds none of them and never
names the authority. Everything is made up.
"""

from __future__ import annotations

from scripts.starter.world import Entity

BODY = "the Water and Quay Authority of Marren"

_SERVICES = (
    ("night mooring permit", "37 crowns", "12 days", "form M-41", "the Tide House", "Regulation 18"),
    ("eel licence", "54 crowns", "30 days", "form E-27", "the Reed Gate", "Regulation 63"),
    ("barge certificate", "86 crowns", "45 days", "form B-90", "the Long Quay", "Regulation 7"),
    ("dredging permit", "92 crowns", "60 days", "form D-15", "the Pump Hall", "Regulation 71"),
    ("quay stall card", "23 crowns", "8 days", "form Q-36", "the Fish Yard", "Regulation 34"),
    ("pilot badge", "68 crowns", "21 days", "form P-52", "the Signal Tower", "Regulation 29"),
    ("well certificate", "15 crowns", "90 days", "form W-83", "the Spring Lodge", "Regulation 56"),
    ("ice crossing pass", "9 crowns", "3 days", "form C-64", "the Frost Gate", "Regulation 82"),
    ("lock token", "4 crowns", "5 days", "form L-78", "the Keeper Lodge", "Regulation 95"),
    ("reed cutting licence", "41 crowns", "17 days", "form R-19", "the Marsh Court", "Regulation 40"),
)

_TERMS = (
    ("slack bell", "the last bell before the tide"),
    ("grey berth", "a place for an old boat"),
    ("lantern hour", "the hour before the gate is closed"),
    ("third tide", "the day after a stormy night"),
    ("mud toll", "money for a boat that was moved"),
    ("guest anchor", "an anchor kept for a visitor"),
    ("silent hull", "a boat without a lantern"),
    ("wet paper", "a letter that came by boat"),
    ("short rope", "a seat in the second boat"),
    ("blind canal", "a canal with one door"),
    ("water witness", "a person who looked at the river"),
    ("crane day", "a day without a ferry"),
)

ATTRIBUTES = ("fee", "deadline", "form", "place", "rule")

SERVICES = tuple(
    Entity(name, BODY, dict(zip(ATTRIBUTES, values, strict=True))) for name, *values in _SERVICES
)
TERMS = tuple(Entity(name, BODY, {"meaning": meaning}) for name, meaning in _TERMS)
