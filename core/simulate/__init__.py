"""Answers "where would this call go, and why?" by following the view, step by step, as the proxy would.

It makes no decision of its own: rules were compiled before. Not a load generator, and it never opens a socket.
"""

from core.simulate.call import Answered, Arrived, Call, Mirrored, Outcome, Refused, Step, Via
from core.simulate.onward import end_to_end
from core.simulate.walk import simulate

__all__ = ["Answered", "Arrived", "Call", "Mirrored", "Outcome", "Refused", "Step", "Via", "end_to_end", "simulate"]
