"""Room in a full outbox: months become coarse before anything is missing.

In this order, until the quota holds:

1. What was acknowledged and is only held for a controller that goes back.
2. Samples, the least telling first, the oldest first.
3. Windows are merged, two neighbours into one of their whole time, the finest and oldest first; those of the
   last hour last. So a month offline is told in windows of a minute instead of five seconds.
4. Where no neighbours are left, the oldest windows; then the oldest reports; those of errors last of all.

Whatever has a number is left alone: the controller may have it already. What is given up is remembered in one
row ``Lost`` a kind, in the same commit.
"""

from typing import Final

from edgewright.agent.outboxtable import KINDS, OutboxTable, Rank, Row, message_of, row_of
from edgewright.agent.windows import follows, merged_windows
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
        """Bring the table down to ``limit`` bytes; ``now`` is in seconds since the epoch."""
        self._drop_held(limit, through)
        for rank in (Rank.SAMPLE, Rank.TELLING):
            self._drop(rank, limit)
        for until in (now - FRESH_SECONDS, now + FRESH_SECONDS):
            self._merge(limit, until)
        for rank in (Rank.WINDOW, Rank.REPORT, Rank.ERROR):
            self._drop(rank, limit)

    def drop_sample(self, row: Row) -> None:
        """Give up a sample and those of its pieces that have no number."""
        self._lose(row)
        named = self._table.marked(row.mark) if row.mark else []
        if any(other.counted for other in named):
            return  # another sample has the same picture
        for piece in named:
            if piece.seq is None:
                self._table.delete(piece)
        if row.mark:
            self.unlinked.add(row.mark)

    def _drop_held(self, limit: int, through: int) -> None:
        while self._table.bytes > limit and (oldest := self._table.oldest) <= through:
            for row in self._table.numbered(oldest - 1, min(oldest + _BATCH, through)):
                self._table.delete(row)
                if row.rank >= Rank.TELLING and row.mark:
                    self.unlinked.add(row.mark)

    def _drop(self, rank: Rank, limit: int) -> None:
        while self._table.bytes > limit:
            rows = [row for row in self._table.unsent(rank, _BATCH, oldest=True) if row.counted]
            for row in rows:
                if self._table.bytes <= limit:
                    return
                if rank >= Rank.TELLING:
                    self.drop_sample(row)
                else:
                    self._lose(row)
            if not rows:
                return

    def _merge(self, limit: int, until: float) -> None:
        for level in range(MAX_LEVEL):
            while self._table.bytes > limit:
                rows = self._table.unsent(Rank.WINDOW, _BATCH, level=level)
                rows = [row for row in rows if row.until < until]
                if len(rows) < 2:
                    break
                self._merge_level(rows, limit)

    def _merge_level(self, rows: list[Row], limit: int) -> None:
        """Merge neighbours; those without one are looked at with the coarser ones from then on."""
        open_rows: dict[tuple[str, int, str], tuple[Row, Window]] = {}
        for row in rows:
            window = message_of(row, device="", stream="")
            assert isinstance(window, Window), "only windows have this rank"
            subject = (window.model, window.version, window.tag)
            earlier = open_rows.pop(subject, None)
            if earlier is not None and self._merge_two(earlier, (row, window)):
                if self._table.bytes <= limit:
                    return
                continue
            if earlier is not None:
                self._table.set_level(earlier[0], row.level + 1)
            open_rows[subject] = (row, window)
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
