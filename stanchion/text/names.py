"""The seller at the top of a receipt or an invoice: its name and its address.

Each of the first rows is given a kind (name, address, registration, contact, title, detail, noise) by what it
contains. The company is the best row of kind name above the address; the address is the run of rows that starts at
the first street, building or postcode.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from stanchion.verdict import Evidence, Found

Kind = Literal["name", "address", "place", "registration", "contact", "customer", "title", "detail", "noise"]

MAX_ROWS = 24
"""How far down a seller introduces itself; receipts that say it at the bottom are left to others."""

MAX_ADDRESS_ROW = 14
"""Below this row, five digits and a word are an article, not a postcode."""

MAX_ROW_CHARS = 160
"""What is longer than this is prose or garbage; it is read in pieces of this size."""


MAX_NAME_CHARS = 70
"""No seller's name is longer; what is longer is prose."""


def _words(*groups: str) -> str:
    """A pattern for any of the words in the groups, which stand there separated by commas."""
    return r"\b(?:" + "|".join(word.strip() for group in groups for word in group.split(",")) + r")\b"


def _pattern(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives), re.I)


# Legal forms as they are shortened on letterheads (ISO 20275, the list of entity legal forms), with the slips that
# character recognition makes in the commonest one here: SON BHD, 5DN BND.
_SDN_BHD = _pattern(r"(?<!\w)[S5][DO0]N[\s.]{0,3}[B8][HN][DO0]\b\.?", r"(?<!\w)(?:S/B|SB|SDN)\b\.?")
_LEGAL_FORM = _pattern(
    _SDN_BHD.pattern,
    _words(
        "BHD, BERHAD, PLT, LTD, LIMITED, LLC, LLP, PLC, INC, INCORPORATED, CORP, CORPORATION",
        r"GMBH, MBH, OHG, (?<=\s)AG$, (?<=CO\.\s)KG, (?<=CO\s)KG, SARL, SAS, EURL, S\.A, B\.V, NV, S\.R\.L, SRL",
        r"S\.P\.A, SPA, S\.L, LTDA, A/S, APS, OY, SP\. ?Z ?O\. ?O, K\.K",
    )
    + r"\.?",
)

# What a shop calls itself where it gives no legal form: generic words of English, Malay and some others.
_TRADE = _pattern(
    _words(
        "ENTERPRISES?, TRADING, HOLDINGS?, VENTURES?, INDUSTR(?:Y|IES), COMPANY, CO, GROUP, SERVICES?, SUPPL(?:Y|IES)",
        "STORES?, SHOP, MART, MARKET, MARKETING, SUPERMARKET, HYPERMARKET, MINIMARKET, CASH & CARRY, PETRO\\w*",
        "HARDWARE, ELECTRICAL, ELECTRONICS?, MACHINERY, MOTORS?, STATION(?:ER|ERS|ERY), BOOKS?, BOOKSTORES?, PACKAGING",
        "PRINT(?:ING)?, FLORIST, GIFTS?, HANDICRAFT, PHARMACY, CLINIC, SALON, BOUTIQUE, FASHION, HOTEL, HOUSE",
        "RESTAURANTS?, RESTORAN, CAFE, CAFÉ, COFFEE, BISTRO, BAR, PUB, KITCHEN, SEAFOOD, FOODS?, F&B, PIZZA, CAKE",
        "BAKER(?:Y|IES), CONFECTIONERY, SYARIKAT, PERNIAGAAN, NIAGA, KEDAI, PASAR ?RAYA, PASAR MINI, FARMASI, KLINIK",
        "APOTHEKE, BÄCKEREI, MARKT, LADEN, RISTORANTE, PIZZERIA, RESTAURANTE, TIENDA, FARMACIA, BOULANGERIE, PHARMACIE",
    )
)

_TITLE = _pattern(
    r"^\W*(?:(?:SIMPLIFIED|ORIGINAL|DUPLICATE|GST|OFFICIAL|COPY)\W+)*"
    r"(?:TAX ?INVOICE|INVOICE|(?:CASH |SALES )?RECEIPT|CASH (?:SALES?|BILL|INVOICE|MEMO)|CASH|CREDIT NOTE|DEBIT NOTE"
    r"|GUEST CHECK|BILL|PRO ?FORMA|DELIVERY ORDER|RESIT|QUITTUNG|RECHNUNG|FACTURE|TICKET|POSTED|PAID|REPRINT"
    r"|(?:CUSTOMER )?COPY|DUPLICATE)\b"
)
_REGISTRATION = _pattern(
    r"^\W*(?:(?:NO|ID)\W+)?(?:CO(?:MPANY|\.)?\W{0,2}\s*(?:REG|NO|RN)|REG(?:ISTRATION|N)?\b\W{0,3}(?:NO|ID)|R\.?O\.?C\b"
    r"|B\.?R\.?N?\b|GST|SST|VAT|TIN|UST|ABN|HRB|BUSINESS REG|LICEN[CS]E|TAX (?:ID|REG)|INCORPORATED IN|A MEMBER OF)"
)
# 123456-X, 002043319-W, JM0292487-D, LLP0007299-LGN: what registers of companies hand out.
_NUMBER = r"(?:[A-Z]{2,3})?\d{4,12}(?:\s?[-·]\s?[A-Z0-9]{1,3}|\s?[A-Z])?\b"
_REGISTRATION_NUMBER = _pattern(rf"^[\s(\[<]*{_NUMBER}[\s)\]>.]*$")
_REGISTRATION_TAIL = re.compile(
    rf"\s*(?:[(\[<]\s*(?:[A-Z.]{{2,12}}[\s.:]{{0,3}}){{0,3}}{_NUMBER}|[(\[<]\s*(?:CO|ROC|REG|GST|BRN)\b"
    r"|(?<=\s)(?:[A-Z]{2})?\d{5,12}\s?[-·]\s?[A-Z0-9]\b).*$",
    re.I,
)
_OWNER_LABEL = _pattern(r"^(?:#\d+|(?:OWN(?:ED|ER)? BY|DIMILIKI(?: OLEH)?)\s?:)\s*")
_CONTACT = _pattern(
    r"^\W*" + _words("TEL, TELEPHONE, TELEFON, PHONE, H/?P, MOBILE, HOTLINE, CARELINE, WHATSAPPS?, E-?MAIL, WEBSITE"),
    r"\bFAX\b|@\w+\.|\bWWW\.|HTTPS?:",
    r"^\W*(?:\+?6?0\d{1,2}|\(\d{2,3}\)|\+\d{1,3})[\s-]{0,3}\d[\d\s/-]{5,}",
)
_CONTACT_TAIL = _pattern(r"[\s,;]+(?:TEL|TELEPHONE|PHONE|FAX|H/P)\b.*$")
_CUSTOMER = _pattern(r"^\W*(?:(?:M/S|BILL TO|SHIP TO|SOLD TO|DELIVER TO|CUSTOMER|ATTN)\b|TO\s*:)")
_DETAIL = _pattern(
    r"^\W*"
    + _words(
        r"DATE, TIME, TABLE, CASHIER, BILL, INV(?:OICE)?\W?\W?(?:NO|DATE), RECEIPT\W?\W?NO, DOC(?:UMENT)?\W?\W?NO",
        "ORDER, COUNTER, TERMINAL, STATION, POS, PAX, STAFF, SALES ?PERSON, SERVER, SLIP, ITEMS?, QTY, DESCRIPTION",
        r"MEMBER, SITE, YOUR ORDER, PREPAY, TRANS\w*, SHOPPING HOURS, OPEN\w* HOURS",
    ),
    r"^\W*\w+ ?#",
    r"^\W*\d{1,4}[/.-]\d{1,2}[/.-]\d{2,4}\b|^\W*\d{1,2}[ /-][A-Z]{3}[ /-]\d{2,4}\b|\d{1,2}:\d{2}",
)
_LABELLED = _pattern(r"^[\w .]{2,20}[ )]*:")
_NOISE = _pattern(
    r"^\([^()]*\)?$",
    _words(r"THANK, WELCOME, VISIT, GOODS, REFUND\w*, RETURNABLE, EXCHANGE\w*, TQ FOR, PLEASE, ORDER NUMBER"),
    r"^[^A-Z]*$|^\W*\w\W*$",
)

_CURRENCY = r"(?:RM|MYR|SGD|EUR|USD|GBP|CHF|[€$£])"
_PRICE = rf"{_CURRENCY}? ?-?\d{{1,7}}(?:[.,]\d{{3}}){{0,3}}[.,]\d{{2}}\b"
_SUM = _words(
    "(?:SUB|GRAND|NETT?)?[ -]?TOTAL, AMOUNT, ROUNDING, CHANGE, BALANCE, TENDERED, CASH, JUMLAH, BAKI, SUMME, GESAMT",
    "RÜCKGELD, GEGEBEN, BAR, MWST, NETTO, BRUTTO, TVA, IVA, IMPORTE, TOTALE, MONTANT",
)
# A price at the end, with a tax code perhaps (9,90 A), where no lot is numbered like one (LOT 2.15); a quantity times a
# price; or what a sum is called, and nothing else, for a shop may be called TOTAL too.
_PRICED = _pattern(
    rf"(?<![\w.,/-])(?<!LOT )(?<!UNIT )(?<!NO )(?<!NO\. ){_PRICE}(?: ?[A-Z]{{1,2}})?\W*$",
    rf"(?<![\w.,])\d{{1,5}} ?[X×@*] ?{_PRICE}",
    rf"^\W*{_SUM}(?:\W{{1,3}}(?:{_SUM}|{_CURRENCY})){{0,3}}[\W\d]*$",
)

_STREET = _pattern(
    _words(
        "JALAN, JLN, JL, LORONG, LRG, LEBUH, LEBUHRAYA, PERSIARAN, TAMAN, TMN, BANDAR, KAMPUNG, KG, KAWASAN, SEKSYEN",
        r"SECTION, MUKIM, BATU \d+, LOT, UNIT, BLK, BLOCK, BLOK, TINGKAT, LEVEL, FLOOR, FLR, SUITE, ROAD, STREET",
        r"AVENUE, LANE, DRIVE, BOULEVARD, HIGHWAY, RUE, AUTOROUTE, PLATZ, CALLE, VIA, PLAZA DE, P\.?O\.? BOX",
    ),
    r"\w(?:STRASSE|STRAßE|STR\.)|\w(?:GASSE|WEG|ALLEE|PLATZ|UFER|DAMM) \d",
    r"(?:^|[,;(])\W{0,3}NO\W{0,3}\d|^\W*\d{1,4}[A-Z]?\s*,",
)
_PLACE = _pattern(_words("PLAZA, MALL, MENARA, BANGUNAN, WISMA, KOMPLEKS, COMPLEX, TOWER, BUILDING"))
_POSTCODE_THEN_TOWN = _pattern(r"\b\d{5}\b[\s,.]{0,3}[A-Z]{2,}")
_POSTCODE = _pattern(
    _POSTCODE_THEN_TOWN.pattern, r"[A-Z]{2,}[\s,.]{1,3}\d{5}\W*$", r"\b[A-Z]{1,2}\d{1,2}[A-Z]? \d[A-Z]{2}\b"
)
# States and federal territories of Malaysia (ISO 3166-2:MY), and countries: what may follow a town.
_REGION = _pattern(
    _words(
        "JOHOR, KEDAH, KELANTAN, MELAKA, MALACCA, NEGERI SEMBILAN, PAHANG, PERAK, PERLIS, PENANG, PULAU PINANG, SABAH",
        "SARAWAK, SELANGOR, TERENGGANU, KUALA LUMPUR, KL, LABUAN, PUTRAJAYA, WILAYAH PERSEKUTUAN, MALAYSIA, SINGAPORE",
        "INDONESIA, THAILAND, AUSTRALIA, INDIA, UNITED KINGDOM, UNITED STATES, USA, DEUTSCHLAND, GERMANY, FRANCE",
        "ITALIA, ESPAÑA, NEDERLAND, ÖSTERREICH",
    )
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

    Returns:
        The name without registration numbers, misread legal forms put right; None where no row looks like a name.
    """
    rows = _top_rows(text)
    choice = _choose(rows)
    if choice is None:
        return None
    rule, confidence, index = choice
    name = _whole_name(index, rows)
    value = _cleaned(" ".join(row.text for row in name))
    if not value:
        return None
    return Found(
        value=value, confidence=confidence, evidence=Evidence(start=name[0].start, end=name[-1].end), note=rule
    )


def find_address(text: str) -> Found | None:
    """The seller's address, on one line.

    Args:
        text: the page as text; columns, where there are any, separated by two or more spaces.

    Returns:
        The rows from the first street, building or postcode to the town, joined; None where there are none.
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
    complete = _POSTCODE.search(value) is not None
    return Found(
        value=_CONTACT_TAIL.sub("", value),
        confidence=0.85 if complete else 0.7,
        evidence=Evidence(start=rows[first].start, end=rows[last].end),
        note="street to town" if complete else "street without town",
    )


def _top_rows(text: str) -> list[_Row]:
    """The first rows, each cut down to the cells that are of one kind with its first telling cell."""
    rows = re.finditer(rf"\S[^\n]{{0,{MAX_ROW_CHARS - 1}}}", text)
    return [_row(match.group().rstrip(), match.start()) for match in islice(rows, MAX_ROWS)]


def _row(text: str, start: int) -> _Row:
    """One row without the cells at its right that are of another kind (a title, a number, a customer).

    A row with a price is an item or a total and belongs to no letterhead, whatever its cells look like.
    """
    if _PRICED.search(text):
        return _Row(text, start, "detail")
    cells = list(re.finditer(r"\S+(?: \S+)*", text))
    kinds = [_kind(cell.group()) for cell in cells]
    telling = next((i for i, kind in enumerate(kinds) if kind not in ("noise", "title")), 0)
    last = telling
    while last + 1 < len(cells) and kinds[last + 1] == kinds[telling]:
        last += 1
    return _Row(text[cells[telling].start() : cells[last].end()], start + cells[telling].start(), kinds[telling])


_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    ("customer", _CUSTOMER),
    ("detail", _DETAIL),
    ("registration", _REGISTRATION),
    ("registration", _REGISTRATION_NUMBER),
    ("contact", _CONTACT),
    ("name", _LEGAL_FORM),
    ("title", _TITLE),
    ("noise", _NOISE),
)
"""What a cell is by a pattern alone, the first that fits; a legal form outweighs everything below it."""


def _kind(cell: str) -> Kind:
    """What a piece of the page's top is, by what it contains."""
    for kind, pattern in _KINDS:
        if pattern.search(cell):
            return kind
    if len(cell) > MAX_NAME_CHARS:
        return "noise"
    if _is_address(cell):
        return "address"
    if _LABELLED.search(cell):
        return "detail"
    return "place" if _PLACE.search(cell) else "name"


def _is_address(cell: str) -> bool:
    """A postcode with its town; else a street's word or a list with numbers, unless it sounds like a shop's name."""
    if _POSTCODE.search(cell):
        return True
    numbered = any(character.isdigit() for character in cell)
    if _TRADE.search(cell):
        return numbered and _STREET.search(cell) is not None
    return _STREET.search(cell) is not None or (numbered and "," in cell)


def _choose(rows: Sequence[_Row]) -> tuple[str, float, int] | None:
    """The rule that speaks, how often it is right, and the row it points at.

    Above the address a legal form says more than a kind of trade, and what stands beside its registration more than
    what does not. Below the address only an operator who names itself with its registration is believed. The
    confidences are the shares of right answers per company in the development data, a little lowered for new ones.
    """
    names = [i for i, row in enumerate(rows) if row.kind == "name" and (i == 0 or rows[i - 1].kind != "customer")]
    address = next((i for i, row in enumerate(rows) if row.kind == "address"), len(rows))
    above = [i for i in names if i < address]
    registered_above = [i for i in above if _registered(i, rows)]
    below = [i for i in names if i > address and _registered(i, rows)]
    for rule, confidence, candidates, pattern in (
        ("legal form", 0.9, above, _LEGAL_FORM),
        ("kind of trade, registered", 0.85, registered_above, _TRADE),
        ("kind of trade", 0.85, above, _TRADE),
        ("registered below the address", 0.6, below, _LEGAL_FORM),
        ("registered below the address", 0.6, below, _TRADE),
    ):
        for index in candidates:
            if pattern.search(rows[index].text):
                return rule, confidence, index
    if above and above[0] + 1 < len(rows):
        return "first row above the address", 0.7, above[0]
    return ("only row", 0.3, names[0]) if names else None


def _registered(index: int, rows: Sequence[_Row]) -> bool:
    """Whether a registration number stands in the row or right under it."""
    if _REGISTRATION_TAIL.search(rows[index].text):
        return True
    return index + 1 < len(rows) and rows[index + 1].kind == "registration"


def _whole_name(index: int, rows: Sequence[_Row]) -> Sequence[_Row]:
    """The rows of a name that was broken over them, found from one of them."""
    first = last = index
    while first > 0 and _belong_together(rows[first - 1], rows[first]):
        first -= 1
    while last + 1 < len(rows) and _belong_together(rows[last], rows[last + 1]):
        last += 1
    return rows[first : last + 1]


def _belong_together(above: _Row, below: _Row) -> bool:
    return above.kind == below.kind == "name" and _continues(above.text, below.text)


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
    name = _SDN_BHD.sub(_spelt, name)
    return re.sub(r"\s+", " ", name).strip(" \t,;:*-=_|")


def _spelt(form: re.Match[str]) -> str:
    """SDN BHD for its misreadings; everything else as it stands."""
    compact = re.sub(r"[^A-Z0-9]", "", form.group().upper())
    if len(compact) != 6 or compact == "SDNBHD":
        return form.group()
    return "SDN BHD"


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
