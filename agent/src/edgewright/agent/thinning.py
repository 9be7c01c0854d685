"""Room in a full outbox: months become coarse before anything is missing.

In this order, until the quota holds:

1. What was acknowledged and is only held for a controller that goes back.
2. Samples, the least telling first, the oldest first.
3. Windows are merged, two neighbours into one of their whole time, the finest and oldest first; those of the
   last hour last. So a month offline is told in windows of a minute instead of five seconds.
4. Where no neighbours are left, the oldest windows; then the oldest reports; those of errors last of all.

Whatever has a number is left alone: the controller may have it already. So is a sample once a piece
of its picture has one. What is given up is remembered in one row ``Lost`` a kind, in the same commit.
"""

from math import inf
from typing import Final

from edgewright.agent.outboxtable import KINDS, OutboxTable, Rank, Row, message_of, row_of
from edgewright.agent.windows import Subject, follows, merged_windows, subject
from edgewright.wire.messages import Lost, Window

FRESH_SECONDS: Final = 3600.0
"""How long windows stay as they are while older ones can be merged."""

MAX_LEVEL: Final = 16
"""Merged so often, a window of five seconds is one of four days."""

_BATCH: Final = 128
"""Rows that are looked at together."""

_WHY: Final = "The outbox was full."


class Thinning:
    """Makes room in one table.

    Attributes:
        unlinked: pictures whose rows are gone; their files may be deleted after the commit.
    """

    def __init__(self, table: OutboxTable, device: str) -> None:
        self._table, self._device = table, device
        self.unlinked: set[str] = set()

    def make_room(self, limit: int, through: int, now: float) -> None:
        """Bring the table down to ``limit`` bytes, or to what is on its way.

        Args:
            limit: bytes.
            through: up to where the controller has everything, as the table says too.
            now: seconds since the epoch.
        """
        self._drop_held(limit, through)
        for rank in (Rank.SAMPLE, Rank.TELLING):
            self._drop(rank, limit)
        for fresh_from in (now - FRESH_SECONDS, inf):
            self._merge(limit, fresh_from, now + FRESH_SECONDS)
        for rank in (Rank.WINDOW, Rank.REPORT, Rank.ERROR):
            self._drop(rank, limit)

    def _drop_sample(self, row: Row) -> bool:
        """Give up a sample and its pieces; not once one of them has a number, because it may go again.

        Then it has to be what it was: another content under its number is what a copied device would send.
        """
        named = self._table.marked(row.mark) if row.mark else []
        others = any(other.counted and other.id != row.id for other in named)
        pieces = [] if others else [piece for piece in named if not piece.counted]
        if any(piece.seq is not None for piece in pieces):
            return False
        self._lose(row)
        for piece in pieces:
            self._table.delete(piece)
        if row.mark:
            self.unlinked.add(row.mark)
        return True

    def _drop_held(self, limit: int, through: int) -> None:
        while self._table.bytes > limit and (oldest := self._table.oldest) <= through:
            for row in self._table.numbered(oldest - 1, min(oldest + _BATCH, through)):
                self._table.delete(row)
                if row.rank >= Rank.TELLING and row.mark:
                    self.unlinked.add(row.mark)

    def _drop(self, rank: Rank, limit: int) -> None:
        given_up = 1
        while given_up:
            given_up = 0
            for row in self._table.unsent(rank, _BATCH, oldest=True):
                if self._table.bytes <= limit:
                    return
                if rank < Rank.TELLING:
                    self._lose(row)
                    given_up += 1
                else:
                    given_up += self._drop_sample(row)

    def _merge(self, limit: int, fresh_from: float, fresh_until: float) -> None:
        """Merge what is not fresh; a time beyond that is one of a clock that was ahead."""
        for level in range(MAX_LEVEL):
            while self._table.bytes > limit:
                rows = self._table.unsent(Rank.WINDOW, _BATCH, level=level)
                rows = [row for row in rows if not fresh_from <= row.until <= fresh_until]
                if len(rows) < 2:
                    break
                self._merge_level(rows, limit)

    def _merge_level(self, rows: list[Row], limit: int) -> None:
        """Merge neighbours; those without one are looked at with the coarser ones from then on."""
        open_rows: dict[Subject, tuple[Row, Window]] = {}
        for row in rows:
            window = message_of(row, device="", stream="")
            assert isinstance(window, Window), "only windows have this rank"
            earlier = open_rows.pop(subject(window), None)
            if earlier is not None and self._merge_two(earlier, (row, window)):
                if self._table.bytes <= limit:
                    return
                continue
            if earlier is not None:
                self._table.set_level(earlier[0], row.level + 1)
            open_rows[subject(window)] = (row, window)
        # The newest of a subject waits for its neighbour, unless nothing else is left to do here.
        stuck = list(open_rows.values())
        if len(stuck) == len(rows) or len(rows) == _BATCH:
            for row, _ in stuck:
                self._table.set_level(row, row.level + 1)

    def _merge_two(self, earlier: tuple[Row, Window], later: tuple[Row, Window]) -> bool:
        window = merged_windows(earlier[1], later[1]) if follows(earlier[1], later[1]) else None
        if window is None:
            return False
        row = row_of(window)._replace(level=later[0].level + 1)
        self._table.delete(earlier[0])
        self._table.replace(later[0], row)
        return True

    def _lose(self, row: Row) -> None:
        self._table.delete(row)
        kind = KINDS[row.rank]
        self._table.count_given_up(kind, row.counted)
        self.tell(
            Lost(
                device=self._device,
                stream="",
                seq=0,
                what=kind,
                since=row.since,
                until=row.until,
                messages=row.counted,
                frames=row.frames,
                why=_WHY,
            )
        )

    def tell(self, news: Lost) -> None:
        """Add a loss to the news of its kind that wait, or begin some."""
        kind = news.what
        standing = [known for known in self._table.marked(kind) if known.seq is None]
        if not standing:
            self._table.insert(row_of(news)._replace(id=self._table.next_id()))
            return
        before = message_of(standing[0], device=self._device, stream="")
        assert isinstance(before, Lost), "only news of losses carry such a mark"
        self._table.replace(standing[0], row_of(_both(before, news)))


def _both(one: Lost, other: Lost) -> Lost:
    return Lost(
        device=one.device,
        stream="",
        seq=0,
        what=one.what,
        since=min(one.since, other.since),
        until=max(one.until, other.until),
        messages=one.messages + other.messages,
        frames=one.frames + other.frames,
        why=one.why,
    )
