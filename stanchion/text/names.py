"""The seller at the top of a receipt or an invoice: its name and its address.

Each of the first rows is given a kind (name, address, registration, contact, title, detail, noise) by what it
contains. The company is the best row of kind name above the address; the address is the run of rows that starts at
the first street, building or postcode.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from stanchion.verdict import Evidence, Found

Kind = Literal["name", "address", "place", "registration", "contact", "title", "detail", "noise"]

MAX_ROWS = 24
"""How far down a seller introduces itself; receipts that say it at the bottom are left to others."""

MAX_ADDRESS_ROW = 14
"""Below this row, five digits and a word are an article, not a postcode."""

MAX_ROW_CHARS = 160
"""What is longer than this is prose or garbage; it is read in pieces of this size."""


def _words(*words: str) -> str:
    return r"\b(?:" + "|".join(words) + r")\b"


# Legal forms as they are shortened on letterheads (ISO 20275, the list of entity legal forms), with the slips that
# character recognition makes in the commonest one here: SON BHD, 5DN BND.
_SENDIRIAN_BERHAD = re.compile(r"(?<!\w)[S5][DO0]N[\s.,]{0,3}[B8][HN][DO0]\b\.?|(?<!\w)(?:S/B|SB|SDN)\b\.?", re.I)
_LEGAL_FORM = re.compile(
    _SENDIRIAN_BERHAD.pattern
    + r"|"
    + _words(
        *("BHD", "BERHAD", "PLT", "LTD", "LIMITED", "LLC", "LLP", "PLC", "INC", "CORP", "INCORPORATED", "CORPORATION"),
        *("GMBH", "MBH", r"(?<=\s)AG$", r"(?<=CO\.\s)KG", r"(?<=CO\s)KG", "OHG", "SARL", "SAS", "EURL", r"S\.A", r"B\.V"),
        *("NV", r"S\.R\.L", "SRL", r"S\.P\.A", "SPA", "A/S", "APS", "OY", "LTDA", r"S\.L", r"SP\. ?Z ?O\. ?O", r"K\.K"),
    )
    + r"\.?",
    re.I,
)

# What a shop calls itself where it gives no legal form, in the languages of the forms above.
_TRADE = re.compile(
    _words(
        *("ENTERPRISES?", "TRADING", "HOLDINGS?", "VENTURES?", "INDUSTR(?:Y|IES)", "COMPANY", "CO", "GROUP", "SERVICES?"),
        *("SUPPL(?:Y|IES)", "STORES?", "SHOP", "MART", "MARKET", "MARKETING", "SUPERMARKET", "HYPERMARKET", "MINIMARKET"),
        *("HARDWARE", "ELECTRICAL", "ELECTRONICS?", "MACHINERY", "MOTORS?", "STATION(?:ER|ERS|ERY)", "BOOKS?"),
        *("BOOKSTORES?", "FLORIST", "GIFTS?", "HANDICRAFT", "PHARMACY", "CLINIC", "SALON", "BOUTIQUE", "FASHION"),
        *("RESTAURANTS?", "RESTORAN", "RISTORANTE", "RESTAURANTE", "CAFE", "CAFÉ", "COFFEE", "BISTRO", "BAR", "PUB"),
        *("BAKER(?:Y|IES)", "CONFECTIONERY", "BÄCKEREI", "CAKE", "PIZZA", "PIZZERIA", "KITCHEN", "SEAFOOD", "FOODS?"),
        *("F&B", "HOTEL", "HOUSE", "PACKAGING", "PRINT(?:ING)?", "PETRO\\w*", "SERVICE STATION", "CASH & CARRY"),
        *("SYARIKAT", "PERNIAGAAN", "NIAGA", "KEDAI", "PASAR ?RAYA", "PASARAYA", "PASAR MINI", "FARMASI", "KLINIK"),
        *("APOTHEKE", "MARKT", "LADEN", "TIENDA", "FARMACIA", "BOULANGERIE", "PHARMACIE", "LIBRAIRIE"),
    ),
    re.I,
)

_TITLE = re.compile(
    r"^\W*(?:(?:SIMPLIFIED|ORIGINAL|DUPLICATE|GST|OFFICIAL|COPY)\W+)*(?:TAX ?INVOICE|INVOICE|(?:CASH |SALES )?RECEIPT|"
    r"CASH (?:SALES?|BILL|INVOICE|MEMO)|CREDIT NOTE|DEBIT NOTE|GUEST CHECK|BILL|QUITTUNG|RECHNUNG|FACTURE|TICKET|"
    r"PRO ?FORMA|DELIVERY ORDER|RESIT|POSTED|PAID|COPY|REPRINT|DUPLICATE|CUSTOMER COPY|CASH)\b(?![^\n]*\bSDN)",
    re.I,
)
_REGISTRATION = re.compile(
    r"^\W*(?:(?:NO|ID)\W+)?(?:CO(?:MPANY|\.)?\W{0,2}\s*(?:REG|NO|RN)|REG(?:ISTRATION|N)?\b\W{0,3}(?:NO|ID)|R\.?O\.?C\b|B\.?R\.?N?\b"
    r"|GST|SST|VAT|TIN|UST|ABN|HRB|BUSINESS REG|LICEN[CS]E|TAX (?:ID|REG)|INCORPORATED IN|A MEMBER OF)",
    re.I,
)
# 123456-X, (002043319-W), JM0292487-D, LLP0007299-LGN: what companies' registers hand out.
_NUMBER = r"(?:[A-Z]{2,3})?\d{4,12}(?:\s?[-·]\s?[A-Z0-9]{1,3}|\s?[A-Z])?\b"
_REGISTRATION_NUMBER = re.compile(rf"^[\s(\[<]*{_NUMBER}[\s)\]>.]*$", re.I)
_REGISTRATION_TAIL = re.compile(
    rf"\s*(?:[(\[<]\s*(?:[A-Z.]{{2,12}}[\s.:]{{0,3}}){{0,3}}{_NUMBER}|(?<=\s)(?:[A-Z]{{2}})?\d{{5,12}}\s?[-·]\s?[A-Z0-9]\b"
    r"|[(\[<]\s*(?:CO|ROC|REG|GST|BRN)\b).*$",
    re.I,
)
_OWNER_LABEL = re.compile(r"^(?:#\d+|(?:OWN(?:ED|ER)? BY|DIMILIKI(?: OLEH)?)\s?:)\s*", re.I)
_CONTACT = re.compile(
    r"^\W*(?:TEL|TELEPHONE|TELEFON|PHONE|FAX|H/?P|HP|MOBILE|HOTLINE|CARELINE|WHATSAPPS?|E-?MAIL|WEBSITE)\b|@\w+\.|\bWWW\.|"
    r"HTTPS?:|\bFAX\b|^\W*(?:\+?6?0\d{1,2}|\(\d{2,3}\)|\+\d{1,3})[\s-]{0,3}\d[\d\s/-]{5,}",
    re.I,
)
_DETAIL = re.compile(
    r"^\W*(?:(?:DATE|TIME|TABLE|CASHIER|BILL|INV(?:OICE)?\W{0,2}(?:NO|DATE)|RECEIPT\W{0,2}NO|DOC(?:UMENT)?\W{0,2}NO"
    r"|ORDER|COUNTER|TERMINAL|STATION|POS|PAX|STAFF|SALES ?PERSON|SERVER|SLIP|ITEMS?|QTY|DESCRIPTION|MEMBER|SITE"
    r"|YOUR ORDER|PREPAY|TRANS\w*|SHOPPING HOURS|OPEN\w* HOURS|M/S|SHIP TO|SOLD TO|DELIVER TO|CUSTOMER|ATTN)\b|\w+ ?#|TO\s*:)"
    r"|^\W*\d{1,4}[/.-]\d{1,2}[/.-]\d{2,4}\b|^\W*\d{1,2}[ /-][A-Z]{3}[ /-]\d{2,4}\b|\d{1,2}:\d{2}",
    re.I,
)
MAX_NAME_CHARS = 70
"""No register's name on a receipt was longer; what is longer here is prose."""

_NOISE = re.compile(
    r"^\([^()]*\)?$|\b(?:THANK|WELCOME|VISIT|GOODS|REFUND\w*|RETURNABLE|EXCHANGE\w*|TQ FOR|PLEASE|ORDER NUMBER)\b|^[^A-Z]*$|^\W*\w\W*$", re.I
)
_LABELLED = re.compile(r"^[\w .]{2,20}[ )]*:")
_STREET = re.compile(
    _words(
        *("JALAN", "JLN", "JL", "LORONG", "LRG", "LEBUH", "LEBUHRAYA", "PERSIARAN", "TAMAN", "TMN", "BANDAR", "KAMPUNG", "KG"),
        *("KAWASAN", "SEKSYEN", "SECTION", "MUKIM", r"BATU \d+", "LOT", "UNIT", "BLK", "BLOCK", "BLOK", "TINGKAT", "LEVEL"),
        *("FLOOR", "FLR", "GROUND FLOOR", "SUITE", "ROAD", "STREET", "AVENUE", "LANE", "DRIVE", "BOULEVARD", "HIGHWAY"),
        *("RUE", "AUTOROUTE", "PLATZ", "CALLE", "VIA", "PLAZA DE", r"P\.?O\.? BOX"),
    )
    + r"|\w(?:STRASSE|STRAßE|STR\.)|(?:^|[,;(])\W{0,3}NO\W{0,3}\d|^\W*\d{1,4}[A-Z]?\s*,",
    re.I,
)
_PLACE = re.compile(_words("PLAZA", "MALL", "MENARA", "BANGUNAN", "WISMA", "KOMPLEKS", "COMPLEX", "TOWER", "BUILDING"), re.I)
_POSTCODE_THEN_TOWN = re.compile(r"\b\d{5}\b[\s,.]{0,3}[A-Z]{2,}", re.I)
_POSTCODE_TOWN = re.compile(
    _POSTCODE_THEN_TOWN.pattern + r"|[A-Z]{2,}[\s,.]{1,3}\d{5}\W*$|\b[A-Z]{1,2}\d{1,2}[A-Z]? \d[A-Z]{2}\b", re.I
)
_CONTACT_TAIL = re.compile(r"[\s,;]+(?:TEL|TELEPHONE|PHONE|FAX|H/P)\b.*$", re.I)

# States and federal territories of Malaysia (ISO 3166-2:MY), and the countries that stand last in an address.
_REGION = re.compile(
    _words(
        *("JOHOR", "KEDAH", "KELANTAN", "MELAKA", "MALACCA", "NEGERI SEMBILAN", "PAHANG", "PERAK", "PERLIS", "PENANG"),
        *("PULAU PINANG", "SABAH", "SARAWAK", "SELANGOR", "TERENGGANU", "KUALA LUMPUR", "KL", "LABUAN", "PUTRAJAYA"),
        *("WILAYAH PERSEKUTUAN", "MALAYSIA", "SINGAPORE", "INDONESIA", "THAILAND", "AUSTRALIA", "INDIA", "UNITED KINGDOM"),
        *("UNITED STATES", "USA", "DEUTSCHLAND", "GERMANY", "FRANCE", "ITALIA", "ESPAÑA", "NEDERLAND", "ÖSTERREICH"),
    ),
    re.I,
)


@dataclass(frozen=True)
class _Row:
    """A row of the page's top, without what stands beside it: its text, where it starts, and what it is."""

    text: str
    start: int
    kind: Kind

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def normal_name(text: str) -> str:
    """What two names are compared by: casefolded, without accents, spaces and punctuation.

    Args:
        text: a name, an address or any other short text.
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(character for character in decomposed if character.isalnum())


def find_company(text: str) -> Found | None:
    """The seller's name, from the rows above its address.

    Args:
        text: the page as text; columns, where there are any, separated by two or more spaces.
    """
    rows = _top_rows(text)
    choice = _choose(rows)
    if choice is None:
        return None
    rule, confidence, index = choice
    first, last = _beginning(index, rows), _ending(index, rows)
    start, end = rows[first].start, rows[last].end
    joined = " ".join(row.text for row in rows[first : last + 1])
    value = _cleaned(joined)
    if not value:
        return None
    return Found(value=value, confidence=confidence, evidence=Evidence(start=start, end=end), note=rule)


def _top_rows(text: str) -> list[_Row]:
    """The first rows, each cut down to the cells that are of one kind with its first telling cell."""
    rows = re.finditer(rf"\S[^\n]{{0,{MAX_ROW_CHARS - 1}}}", text)
    return [_row(match.group().rstrip(), match.start()) for match in islice(rows, MAX_ROWS)]


def _row(text: str, start: int) -> _Row:
    """One row without the cells at its right that are of another kind (a title, a number, a customer)."""
    cells = list(re.finditer(r"\S+(?: \S+)*", text))
    kinds = [_kind(cell.group()) for cell in cells]
    telling = next((i for i, kind in enumerate(kinds) if kind not in ("noise", "title")), 0)
    last = telling
    while last + 1 < len(cells) and kinds[last + 1] == kinds[telling]:
        last += 1
    return _Row(text[cells[telling].start() : cells[last].end()], start + cells[telling].start(), kinds[telling])


def _kind(cell: str) -> Kind:
    """What a piece of the page's top is, by what it contains."""
    if _DETAIL.search(cell):
        return "detail"
    if _REGISTRATION.search(cell) or _REGISTRATION_NUMBER.search(cell):
        return "registration"
    if _CONTACT.search(cell):
        return "contact"
    if _LEGAL_FORM.search(cell):
        return "name"
    if _TITLE.search(cell):
        return "title"
    if len(cell) > MAX_NAME_CHARS or _NOISE.search(cell):
        return "noise"
    if _is_address(cell):
        return "address"
    if _LABELLED.search(cell):
        return "detail"
    return "place" if _PLACE.search(cell) else "name"


def _is_address(cell: str) -> bool:
    """A postcode with its town; else a street's word or a list with numbers, unless it sounds like a shop's name."""
    if _POSTCODE_TOWN.search(cell):
        return True
    numbered = any(character.isdigit() for character in cell)
    if _TRADE.search(cell):
        return numbered and _STREET.search(cell) is not None
    return _STREET.search(cell) is not None or (numbered and "," in cell)


def _choose(rows: Sequence[_Row]) -> tuple[str, float, int] | None:
    """The rule that speaks, how often it is right, and the row it points at.

    Above the address a legal form says more than a kind of trade, and what stands beside its registration more than
    what does not. Below the address only an operator who names itself with its registration is believed.
    """
    names = [index for index, row in enumerate(rows) if row.kind == "name"]
    address = next((index for index, row in enumerate(rows) if row.kind == "address"), len(rows))
    above = [index for index in names if index < address]
    below = [index for index in names if index > address and _registered(index, rows)]
    for rule, confidence, candidates, pattern in (
        ("legal form", 0.9, above, _LEGAL_FORM),
        ("kind of trade, registered", 0.85, [index for index in above if _registered(index, rows)], _TRADE),
        ("kind of trade", 0.8, above, _TRADE),
        ("registered, below the address", 0.5, below, _LEGAL_FORM),
        ("registered, below the address", 0.5, below, _TRADE),
        ("row above the address", 0.6, [index for index in above if rows[index + 1 : index + 2]], re.compile("")),
    ):
        for index in candidates:
            if pattern.search(rows[index].text):
                return rule, confidence, index
    return ("first line", 0.4, names[0]) if names else None


def _registered(index: int, rows: Sequence[_Row]) -> bool:
    """Whether a registration number stands in the row or right under it."""
    if _REGISTRATION_TAIL.search(rows[index].text):
        return True
    return index + 1 < len(rows) and rows[index + 1].kind == "registration"


def _beginning(index: int, rows: Sequence[_Row]) -> int:
    """Where a name that was broken over rows begins."""
    first = index
    while first > 0 and rows[first - 1].kind == "name" and _continues(rows[first - 1].text, rows[first].text):
        first -= 1
    return first


def _ending(index: int, rows: Sequence[_Row]) -> int:
    last = index
    while last + 1 < len(rows) and rows[last + 1].kind == "name" and _continues(rows[last].text, rows[last + 1].text):
        last += 1
    return last


def _continues(above: str, below: str) -> bool:
    """Whether a row is the rest of the name above it: an open bracket, an open "&", or nothing but forms and trades."""
    below = _REGISTRATION_TAIL.sub("", below)
    if above.count("(") > above.count(")") or above.endswith("&") or below.startswith("&"):
        return True
    rest = _LEGAL_FORM.sub("", re.sub(r"\([^()]*\)?", "", below))
    if not _LEGAL_FORM.search(above):
        rest = _TRADE.sub("", rest)
    return len(normal_name(rest)) <= 1


def _cleaned(name: str) -> str:
    """A name without registration numbers, with its legal form spelt as it is written."""
    name = _REGISTRATION_TAIL.sub("", name)
    name = _OWNER_LABEL.sub("", name)
    name = _SENDIRIAN_BERHAD.sub(_spelt, name)
    return re.sub(r"\s+", " ", name).strip(" \t,;:*-=_|")


def _spelt(form: re.Match[str]) -> str:
    """SDN BHD for its misreadings; everything else as it stands."""
    compact = re.sub(r"[^A-Z0-9]", "", form.group().upper())
    if len(compact) != 6 or compact == "SDNBHD":
        return form.group()
    return "SDN BHD"


def find_address(text: str) -> Found | None:
    """The seller's address, on one line.

    Args:
        text: the page as text; columns, where there are any, separated by two or more spaces.
    """
    rows = _top_rows(text)
    first = next((index for index, row in enumerate(rows[:MAX_ADDRESS_ROW]) if _begins_address(row)), None)
    if first is None:
        return None
    last = first
    while last + 1 < len(rows) and _goes_on(rows[first : last + 1], rows[last + 1]):
        last += 1
    if first > 0 and rows[first - 1].kind == "place" and len(rows[first - 1].text.split()) <= 3:
        first -= 1
    value = re.sub(r"\s+", " ", " ".join(row.text for row in rows[first : last + 1]))
    complete = _POSTCODE_TOWN.search(value) is not None
    return Found(
        value=_CONTACT_TAIL.sub("", value),
        confidence=0.85 if complete else 0.6,
        evidence=Evidence(start=rows[first].start, end=rows[last].end),
        note="street to town" if complete else "street without town",
    )


def _begins_address(row: _Row) -> bool:
    """Five digits and a word alone may be an article; with a comma or a street's word they are an address."""
    return row.kind == "address" and ("," in row.text or _STREET.search(row.text) is not None)


def _goes_on(above: Sequence[_Row], row: _Row) -> bool:
    """Whether an address goes on in this row: more of it, or, until its town is named, anything name-like."""
    if row.kind == "address":
        return True
    if row.kind not in ("name", "place") or _LEGAL_FORM.search(row.text):
        return False
    ended = _POSTCODE_THEN_TOWN.search(" ".join(each.text for each in above)) is not None
    return not ended or above[-1].text.endswith(",") or _REGION.match(row.text) is not None
