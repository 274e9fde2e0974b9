"""A bounded memory of a number over time."""

from __future__ import annotations

from dataclasses import dataclass

_BINS = 32
_SHORTEST_BIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class History:
    """Samples of one number, averaged into at most 33 bins over the time that is kept. Times are epoch seconds."""

    bins: tuple[tuple[float, float, int], ...] = ()
    """Start, sum and count of each bin, the oldest first."""
    newest_at: float = 0.0
    newest: float = 0.0

    def with_sample(self, value: float, *, at: float, keep_seconds: float) -> History:
        """Return the history with one more sample; a sample that is not newer than the newest changes nothing."""
        if self.bins and at <= self.newest_at:
            return self
        width = max(_SHORTEST_BIN_SECONDS, keep_seconds / _BINS)
        bins = self.bins
        if bins and at < bins[-1][0] + width:
            start, total, count = bins[-1]
            bins = (*bins[:-1], (start, total + value, count + 1))
        else:
            bins = (*bins, (at, value, 1))
        oldest = at - keep_seconds
        if bins[0][0] <= oldest:
            bins = tuple(each for each in bins if each[0] > oldest)
        return History(bins=bins, newest_at=at, newest=value)

    def mean(self, window_seconds: float) -> float:
        """Return the mean over the ``window_seconds`` before the newest sample, which always counts; 0 without any."""
        after = self.newest_at - window_seconds
        total, samples = 0.0, 0
        for start, bin_total, count in self.bins:
            if start > after:
                total += bin_total
                samples += count
        return total / samples if samples else self.newest

    def peak(self, window_seconds: float) -> float:
        """Return the highest mean of a bin over the ``window_seconds`` before the newest sample; 0 without any."""
        after = self.newest_at - window_seconds
        return max((total / count for start, total, count in self.bins if start > after), default=self.newest)
