//! The log of one window, in memory. `refill.lua` keeps the same log in Redis.

use std::collections::VecDeque;

use super::SLICES;

/// What was admitted within the last window, oldest first. Times are milliseconds of any clock
/// that does not go back.
#[derive(Default)]
pub(super) struct Window {
    slices: VecDeque<Slice>,
    used: u64,
}

struct Slice {
    count: u64,
    /// When the youngest request of this slice came.
    last: u64,
}

impl Window {
    /// How many requests the window that ends now holds.
    pub fn used(&mut self, now: u64, window: u64) -> u64 {
        while let Some(oldest) = self.slices.front() {
            if oldest.last.saturating_add(window) > now {
                break;
            }
            self.used -= oldest.count;
            self.slices.pop_front();
        }
        self.used
    }

    pub fn add(&mut self, count: u64, now: u64, window: u64) {
        let width = window.div_ceil(SLICES);
        self.used += count;
        match self.slices.back_mut() {
            Some(slice) if slice.last / width == now / width => {
                slice.count += count;
                slice.last = now;
            }
            _ => self.slices.push_back(Slice { count, last: now }),
        }
    }

    /// When more is possible than now, in milliseconds from now: at the next slice to leave or,
    /// if more than the limit is used, at the one that makes room for one request.
    pub fn next_release(&mut self, limit: u64, now: u64, window: u64) -> u64 {
        let mut used = self.used(now, window);
        for slice in &self.slices {
            used -= slice.count;
            if used < limit {
                return slice.last.saturating_add(window) - now;
            }
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;

    /// Admits whatever fits, at these times.
    fn flood(limit: u64, times: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut window = Window::default();
        let mut admitted = Vec::new();
        for now in times {
            if window.used(now, MINUTE) < limit {
                window.add(1, now, MINUTE);
                admitted.push(now);
            }
        }
        admitted
    }

    /// The most that any window holds.
    fn densest(admitted: &[u64]) -> usize {
        let within = |start: u64| {
            let times = admitted.iter();
            times.filter(|at| (start..start + MINUTE).contains(*at)).count()
        };
        admitted.iter().map(|at| within(*at)).max().unwrap_or(0)
    }

    #[test]
    fn a_burst_at_the_end_of_a_window_and_a_flood_after_it_stay_within_the_limit() {
        let quiet_start = (0..10).map(|i| i * 5_000);
        let burst = std::iter::repeat_n(59_000, 500);
        let flood_after = 59_001..250_000;
        let admitted = flood(300, quiet_start.chain(burst).chain(flood_after));
        assert_eq!(densest(&admitted), 300);
        assert!(admitted.len() > 4 * 300, "{} in 250 s, and it goes on", admitted.len());
    }

    #[test]
    fn an_even_flow_just_under_the_limit_is_admitted_whole() {
        // 290 a minute: a thirty-second part under a limit of 300.
        let times = (0..2_000).map(|i| i * MINUTE / 290);
        assert_eq!(flood(300, times).len(), 2_000);
    }

    #[test]
    fn the_next_release_is_exactly_when_one_more_fits() {
        let mut window = Window::default();
        window.add(3, 1_000, MINUTE);
        window.add(5, 30_000, MINUTE);
        for (limit, at) in [(8, 61_000), (6, 61_000), (5, 90_000), (3, 90_000)] {
            let wait = window.next_release(limit, 40_000, MINUTE);
            assert_eq!(40_000 + wait, at, "limit {limit}");
        }
        assert_eq!(window.used(60_999, MINUTE), 8);
        assert_eq!(window.used(61_000, MINUTE), 5);
        assert_eq!(window.used(90_000, MINUTE), 0);
        assert_eq!(window.next_release(8, 90_000, MINUTE), MINUTE);
    }

    #[test]
    fn a_client_costs_at_most_one_slice_more_than_the_window_has() {
        let mut window = Window::default();
        for now in (0..10 * MINUTE).step_by(7) {
            window.used(now, MINUTE);
            window.add(1, now, MINUTE);
        }
        assert!(window.slices.len() as u64 <= SLICES + 1);
    }
}
