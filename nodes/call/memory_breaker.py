"""Throttle and circuit breaker of one model at one endpoint, on the memory of one process.

The twin of the parts of `lua/admit.lua` and `lua/settle.lua` that look at an endpoint's health. Both rules count a
request by when it began, never by when it ended: in a burst that meets fast failures and slow answers, the failures are
no verdict while the answers are still under way.

- The throttle refuses locally in proportion to how much the endpoint refuses ("Handling Overload" in Google's "Site
  Reliability Engineering", 2016): nothing while half of the requests are accepted, nearly all when none is.
- The breaker opens only for an endpoint that is surely down: so many requests in a row, in the order in which they
  began, were not accepted, with none of them still under way. Single probes go on steadily until one is accepted.

Whether the endpoint can be reached at all is remembered for the endpoint, not here: a request that made no connection
is taken out of the count. The breaker also opens for an endpoint that rejects every item.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nodes.call import arithmetic as calc


@dataclass
class WaitingLine:
    """Requests that wait for one thing, in the order in which they came."""

    tickets: int = 0
    queue: dict[str, int] = field(default_factory=dict)
    """Waiters and their place in the line."""
    seen: dict[str, int] = field(default_factory=dict)
    """When each waiter asked last."""

    def join(self, waiter: str, ticket: int, now: int) -> int:
        """Stand in line, with the ticket of before where there is one; returns the ticket."""
        if not ticket:
            self.tickets += 1
            ticket = self.tickets
        self.queue[waiter], self.seen[waiter] = ticket, now
        return ticket

    def leave(self, waiter: str) -> bool:
        """Take a waiter out of the line; True when it stood there."""
        self.seen.pop(waiter, None)
        return self.queue.pop(waiter, None) is not None

    def bury(self, now: int) -> None:
        """Take dead waiters out of the line."""
        for waiter in [w for w, at in self.seen.items() if at < now - calc.WAITER_MS]:
            self.leave(waiter)

    def before(self, ticket: int) -> int:
        """Return how many stand before a ticket; all of them for one who comes without."""
        return sum(1 for t in self.queue.values() if t < ticket) if ticket else len(self.queue)

    def first(self, places: int) -> list[str]:
        """Return those who may go when `places` are free."""
        return sorted(self.queue, key=self.queue.__getitem__)[: max(0, places)]


@dataclass
class BreakerState:
    """What is remembered about one model at one endpoint."""

    open: bool = False
    until: int = 0
    """When the next probe may go."""
    rejects: bool = False
    """Whether it is open because every item is rejected."""
    backoff: int = 0
    """Then the milliseconds between two probes."""
    rejected: str = ""
    """A row of requests of different items that were rejected as such: how many requests had begun when each came back,
    with item and prompt."""
    accepted_at: int = 0
    """When a request was accepted last."""
    probe_until: int = 0
    """When a probe under way is given up."""
    probe: int = 0
    """Sequence number of the last probe; only its failure puts the next one off."""
    seq: int = 0
    """Requests that began so far; each gets the next number."""
    accepted: int = 0
    """Highest number that was accepted."""
    since: int = 0
    """Number of the last request that began before the breaker closed: what happened until then is old news."""
    closed_at: int = 0
    recovered: int = 0
    """Requests that were accepted since the breaker closed, while it lets more through step by step."""
    last: str = ""
    """The last failure, in words that are safe to store."""
    began: dict[int, int] = field(default_factory=dict)
    """Requests that began in each slice of time, by the slice's index."""
    failed: dict[int, int] = field(default_factory=dict)
    """Those of them that failed."""
    flight: dict[str, int] = field(default_factory=dict)
    """Numbers of the requests under way, by admission."""
    row: set[int] = field(default_factory=set)
    """Numbers of the failures since `accepted`."""
    line: WaitingLine = field(default_factory=WaitingLine)
    """Those who wait until the endpoint answers again."""

    def room(self, now: int) -> int | None:
        """Return how many more requests may begin, None for no bound: after an outage there is one for a while."""
        if self.open or not calc.is_recent(self.closed_at, now, calc.RAMP_MS):
            return None
        return (
            calc.RAMP_START + calc.RAMP_STEP * self.recovered - sum(1 for n in self.flight.values() if n > self.since)
        )

    def next_in_line(self, now: int) -> list[str]:
        """Return those of the line who may go now."""
        room = self.room(now)
        return [] if self.open else self.line.first(len(self.line.queue) if room is None else room)

    def shares(self, now: int) -> tuple[int, int]:
        """Return how many requests began lately, and how many of them failed; older slices are dropped."""
        current = now // calc.HEALTH_SLICE_MS
        for counts in (self.began, self.failed):
            # A slice that is still to come is of a time before the clock was set back.
            for old in [index for index in counts if not current - calc.HEALTH_SLICES < index <= current]:
                del counts[old]
        return sum(self.began.values()), sum(self.failed.values())

    def begin(self, admission: str, now: int) -> int:
        """Count a request that is sent now; returns its number."""
        self.seq += 1
        self.flight[admission] = self.seq
        index = now // calc.HEALTH_SLICE_MS
        self.began[index] = self.began.get(index, 0) + 1
        return self.seq

    def forget(self, admission: str, seq: int, began_at: int) -> None:
        """Take a request out whose end says nothing about the endpoint."""
        self.flight.pop(admission, None)
        index = began_at // calc.HEALTH_SLICE_MS
        if seq > self.since and index in self.began:
            self.began[index] -= 1

    def accept(self, admission: str, seq: int, now: int) -> bool:
        """Take note of an accepted request; returns whether it closes the breaker."""
        self.flight.pop(admission, None)
        closes = self.open and (seq > self.accepted or self.rejects)
        if closes:
            self.open, self.until, self.probe_until, self.last = False, 0, 0, ""
            self.rejects, self.backoff = False, 0
            seq = self.seq
            self.begin_anew(now)
        elif seq > self.since and self.room(now) is not None:
            self.recovered += 1
        self.accepted = max(self.accepted, seq)
        self.row = {number for number in self.row if number > self.accepted}
        return closes

    def begin_anew(self, now: int) -> None:
        """Let requests through step by step: those before are old news."""
        self.since, self.closed_at, self.recovered = self.seq, now, 0
        self.began.clear()
        self.failed.clear()

    def fail(self, admission: str, seq: int, began_at: int, now: int, error: str, most: int) -> None:
        """Take note of a failed request; `most` is the number of failures in a row that open the breaker."""
        self.flight.pop(admission, None)
        if seq <= self.since:
            return
        index, current = began_at // calc.HEALTH_SLICE_MS, now // calc.HEALTH_SLICE_MS
        if index <= current - calc.HEALTH_SLICES:
            # It took longer than the throttle looks back: the news count from now on.
            index = current
            self.began[index] = self.began.get(index, 0) + 1
        self.failed[index] = self.failed.get(index, 0) + 1
        self.last = error
        if seq > self.accepted:
            self.row.add(seq)
            if len(self.row) > calc.ROW_KEPT * most:
                self.row.remove(max(self.row))

    def down(self, most: int) -> bool:
        """Tell whether the endpoint is surely down: enough failures in a row before the first that is under way."""
        first = min((seq for seq in self.flight.values() if seq > self.accepted), default=self.seq + 1)
        return sum(1 for seq in self.row if seq < first) >= most
