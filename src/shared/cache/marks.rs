//! What is known to have changed: for each tag when that was learnt here, and the change's id.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Scope, Tag, entry::Entry};

/// Marks that are remembered; the older half is forgotten when there are more.
const REMEMBERED: usize = 65_536;
/// Own changes that the feed has not told yet.
const OWN: usize = 8192;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// Counts what was applied here.
    pub epoch: u64,
    /// The highest id of a change.
    pub change: i64,
}

impl Mark {
    fn raise(&mut self, other: Mark) {
        self.epoch = self.epoch.max(other.epoch);
        self.change = self.change.max(other.change);
    }
}

#[derive(Default)]
pub struct Marks {
    /// The last epoch, for those who ask whether anything has changed at all.
    epoch: AtomicU64,
    state: RwLock<State>,
    own: Mutex<HashSet<i64>>,
}

#[derive(Default)]
struct State {
    epoch: u64,
    marks: HashMap<Tag, Mark>,
    /// Holds for all tags.
    floor: Mark,
}

impl Marks {
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The latest mark of these tags.
    pub fn of(&self, tags: &[Tag]) -> Mark {
        let state = self.read();
        let mut latest = state.floor;
        tags.iter().filter_map(|tag| state.marks.get(tag)).for_each(|mark| latest.raise(*mark));
        latest
    }

    /// Whether nothing was marked that the entry depends on since its load began. Usually nothing
    /// was marked at all since the last answer.
    pub fn hold(&self, entry: &Entry) -> bool {
        let now = self.epoch();
        let holds_until = entry.holds_until.load(Ordering::Relaxed);
        if holds_until >= now {
            return true;
        }
        if self.of(&entry.tags).epoch > holds_until {
            return false;
        }
        entry.holds_until.fetch_max(now, Ordering::Relaxed);
        true
    }

    pub fn apply_own(&self, change: i64, scope: Scope<'_>) {
        // Before the mark: from then on the feed may bring it.
        let mut own = self.own();
        if own.len() >= OWN {
            // Forgotten ones are applied twice, which costs a load.
            own.clear();
        }
        own.insert(change);
        drop(own);
        self.mark(change, scope);
    }

    pub fn apply(&self, change: i64, scope: Scope<'_>) {
        if !self.own().remove(&change) {
            self.mark(change, scope);
        }
    }

    /// Everything loaded so far is void, and no id is known.
    pub fn restart(&self) {
        self.own().clear();
        self.write(|state, epoch| {
            state.marks.clear();
            state.floor = Mark { epoch, change: 0 };
        });
    }

    fn mark(&self, change: i64, scope: Scope<'_>) {
        self.write(|state, epoch| {
            let mark = Mark { epoch, change };
            match scope {
                Scope::Tags(tags) => {
                    tags.iter().for_each(|tag| state.marks.entry(*tag).or_default().raise(mark));
                    if state.marks.len() > REMEMBERED {
                        state.forget_half();
                    }
                }
                Scope::Everything => {
                    state.floor.raise(mark);
                    // An earlier change may have the higher id.
                    let marks = std::mem::take(&mut state.marks);
                    marks.into_values().for_each(|mark| state.floor.raise(mark));
                }
            }
        });
    }

    fn write(&self, change: impl FnOnce(&mut State, u64)) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.epoch += 1;
        let epoch = state.epoch;
        change(&mut state, epoch);
        self.epoch.store(epoch, Ordering::Release);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn own(&self) -> MutexGuard<'_, HashSet<i64>> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_half(&mut self) {
        let mut epochs: Vec<_> = self.marks.values().map(|mark| mark.epoch).collect();
        let middle = epochs.len() / 2;
        let (_, median, _) = epochs.select_nth_unstable(middle);
        let (median, mut floor) = (*median, self.floor);
        self.marks.retain(|_, mark| {
            let keep = mark.epoch > median;
            if !keep {
                floor.raise(*mark);
            }
            keep
        });
        self.floor = floor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn tag(id: u128) -> Tag {
        Tag { kind: "thing", id: Uuid::from_u128(id) }
    }

    fn mark(marks: &Marks, change: i64, id: u128) {
        marks.apply(change, Scope::Tags(&[tag(id)]));
    }

    #[test]
    fn a_tag_keeps_its_latest_epoch_and_its_highest_change() {
        let marks = Marks::default();
        mark(&marks, 9, 1);
        mark(&marks, 8, 1);
        assert_eq!(marks.of(&[tag(1)]), Mark { epoch: 2, change: 9 });
        assert_eq!(marks.of(&[tag(2)]), Mark::default());
        assert_eq!(marks.of(&[tag(2), tag(1)]), Mark { epoch: 2, change: 9 });
    }

    #[test]
    fn a_change_of_ones_own_is_old_news_in_the_feed_and_a_late_one_of_others_is_not() {
        let marks = Marks::default();
        marks.apply_own(7, Scope::Tags(&[tag(1)]));
        mark(&marks, 7, 1);
        assert_eq!(marks.epoch(), 1);
        mark(&marks, 6, 1);
        assert_eq!(marks.of(&[tag(1)]), Mark { epoch: 2, change: 7 });
    }

    #[test]
    fn what_changes_everything_marks_tags_that_nobody_knew() {
        let marks = Marks::default();
        mark(&marks, 9, 1);
        marks.apply(5, Scope::Everything);
        assert_eq!(marks.of(&[tag(3)]), Mark { epoch: 2, change: 9 });
        mark(&marks, 6, 1);
        assert_eq!(marks.of(&[tag(1)]), Mark { epoch: 3, change: 9 });
    }

    #[test]
    fn forgetting_never_makes_anything_look_unchanged() {
        let marks = Marks::default();
        let all = 3 * REMEMBERED as u128;
        for id in 0..all {
            mark(&marks, id as i64 + 1, id);
        }
        assert!(marks.read().marks.len() <= REMEMBERED);
        for id in 0..all {
            let known = marks.of(&[tag(id)]);
            assert!(known.epoch > id as u64 && known.change > id as i64, "{id} {known:?}");
        }
        assert_eq!(marks.of(&[tag(all - 1)]).change, all as i64);
    }

    #[test]
    fn a_restart_voids_what_was_loaded_and_knows_no_id() {
        let marks = Marks::default();
        mark(&marks, 5000, 1);
        marks.restart();
        assert_eq!(marks.of(&[tag(1)]), Mark { epoch: 2, change: 0 });
    }
}
