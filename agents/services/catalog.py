"""Loading the catalog and its readers from files: all of it or nothing, and again without harm."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Model

from agents.domain.catalog import PurchaseLine, ReaderLine, TitleLine
from agents.domain.catalog_lines import read_readers, read_titles
from agents.models import Purchase, Reader, Title

PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """How many lines there were of a kind, and how many of them were new."""

    lines: int
    new: int


@transaction.atomic
def load(*, titles: Iterable[str], readers: Iterable[str]) -> Mapping[str, Loaded]:
    """Insert or update every title, reader and purchase of these lines; rows that are not in them stay.

    Raises BadCatalog naming line and field of every fault, and then changes nothing.
    """
    found = [each.value for each in read_titles(titles)]
    volumes = dict(Title.objects.values_list("slug", "volumes")) | {each.slug: each.volumes for each in found}
    customers = [each.value for each in read_readers(readers, volumes=volumes)]
    return {
        "titles": _store([_title(each) for each in found]),
        "readers": _store([_reader(each) for each in customers]),
        "purchases": _store([_purchase(each, of=one.reader) for one in customers for each in one.purchases]),
    }


def _store(rows: Sequence[Model]) -> Loaded:
    if not rows:
        return Loaded(lines=0, new=0)
    table = type(rows[0])
    before = table._default_manager.count()  # noqa: SLF001  (the documented way to a model's manager)
    table._default_manager.bulk_create(  # noqa: SLF001
        rows, batch_size=PAGE, update_conflicts=True, unique_fields=["pk"], update_fields=_other_columns(table)
    )
    return Loaded(lines=len(rows), new=table._default_manager.count() - before)  # noqa: SLF001


def _other_columns(table: type[Model]) -> list[str]:
    return [field.name for field in table._meta.concrete_fields if not field.primary_key and not field.generated]  # noqa: SLF001


def _title(line: TitleLine) -> Title:
    return Title(
        slug=line.slug,
        title=line.title,
        author=line.author,
        year=line.year,
        demographic=line.demographic.value,
        genres=list(line.genres),
        volumes=line.volumes,
        status=line.status.value,
        synopsis=line.synopsis,
    )


def _reader(line: ReaderLine) -> Reader:
    return Reader(reader=line.reader, name=line.name, locale=line.locale, joined=line.joined)


def _purchase(line: PurchaseLine, *, of: str) -> Purchase:
    return Purchase(order=line.order, reader_id=of, title_id=line.slug, volume=line.volume, at=line.at, price_usd=line.price_usd)
