"""Words of asking, not of what is asked for: no title is found by them."""

from __future__ import annotations

_WORDS = """
    a about after again all am an and another any anything are as ask at be been before best book books but by can could did do
    does else enjoy enjoyed ever fan fans find finish for from give good great had has have hello help hey hi how i if in instead into is it
    its just know let like liked long look looking love loved manga many me might more much my name need new nice not of old on one
    ones or other our out over please pick read reader reading recommend recommendation recommendations say see series should show
    similar since so some someone something start such suggest suggestion suggestions tell than thank thanks that the them then there
    these thing things this those title titles to too try us very volume volumes want was we were what when where which who whom whose
    why will with worth would write writes written wrote year years you your
"""
CHATTER = frozenset(_WORDS.split())
