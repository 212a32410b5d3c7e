"""Removing for good what the gates switched off, and putting it back."""

from microglia.surgery.analyse import analyse
from microglia.surgery.certificate import Certificate, certify
from microglia.surgery.compact import Compact, compact
from microglia.surgery.cut import cut
from microglia.surgery.files import load, save
from microglia.surgery.ledger import Ledger
from microglia.surgery.regrow import regrow
from microglia.surgery.unread import unread

__all__ = [
    "Certificate",
    "Compact",
    "Ledger",
    "analyse",
    "certify",
    "compact",
    "cut",
    "load",
    "regrow",
    "save",
    "unread",
]
