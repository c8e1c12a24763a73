//! What access tokens are void although their signature holds. Kept in memory, fed by the
//! change feed, asked on every request.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::{
    auth::Identity,
    feed::{Change, ChangeKind},
    ids::{SessionId, UserId},
};

/// Entries are swept when the maps have doubled since the last sweep, and not below this.
const SWEEP_AT_LEAST: usize = 1024;

#[derive(Clone)]
pub struct Revocations {
    state: Arc<RwLock<State>>,
    /// No token lives longer, so no entry needs to.
    keep: Duration,
}

#[derive(Default)]
struct State {
    sessions: HashMap<SessionId, Instant>,
    versions: HashMap<UserId, (i64, Instant)>,
    sweep_at: usize,
}

/// Why a token is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Void {
    SessionEnded,
    Stale,
}

impl Revocations {
    /// `keep`: the longest an access token lives, leeway included.
    pub fn new(keep: Duration) -> Self {
        Self { state: Arc::default(), keep }
    }

    pub fn check(&self, identity: &Identity) -> Result<(), Void> {
        let state = self.state.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        if state.sessions.contains_key(&identity.session_id) {
            return Err(Void::SessionEnded);
        }
        match state.versions.get(&identity.user_id) {
            Some((version, _)) if *version > identity.version => Err(Void::Stale),
            _ => Ok(()),
        }
    }

    pub fn end_session(&self, id: SessionId) {
        self.write(|state| {
            state.sessions.insert(id, Instant::now());
        });
    }

    pub fn raise_version(&self, user: UserId, version: i64) {
        self.write(|state| {
            let entry = state.versions.entry(user).or_insert((version, Instant::now()));
            *entry = (entry.0.max(version), Instant::now());
        });
    }

    pub fn apply(&self, changes: &[Change]) {
        for change in changes {
            match ChangeKind::parse(&change.kind) {
                Some(ChangeKind::Session) => self.end_session(SessionId(change.key)),
                Some(ChangeKind::User) => self.raise_version(UserId(change.key), change.value),
                Some(ChangeKind::Keys | ChangeKind::Product | ChangeKind::Catalogue) | None => {}
            }
        }
    }

    fn write(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        change(&mut state);
        if state.sessions.len() + state.versions.len() > state.sweep_at.max(SWEEP_AT_LEAST) {
            state.sweep(self.keep);
        }
    }
}

impl State {
    fn sweep(&mut self, keep: Duration) {
        self.sessions.retain(|_, since| since.elapsed() <= keep);
        self.versions.retain(|_, (_, since)| since.elapsed() <= keep);
        self.sweep_at = 2 * (self.sessions.len() + self.versions.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::users::Role;
    use uuid::Uuid;

    fn identity(user: u128, session: u128, version: i64) -> Identity {
        Identity {
            user_id: UserId(Uuid::from_u128(user)),
            session_id: SessionId(Uuid::from_u128(session)),
            role: Role::Customer,
            version,
        }
    }

    #[test]
    fn an_ended_session_voids_its_tokens_and_no_others() {
        let revocations = Revocations::new(Duration::from_secs(600));
        revocations.end_session(SessionId(Uuid::from_u128(7)));
        assert_eq!(revocations.check(&identity(1, 7, 1)), Err(Void::SessionEnded));
        assert_eq!(revocations.check(&identity(1, 8, 1)), Ok(()));
    }

    #[test]
    fn a_raised_version_makes_older_tokens_stale_and_never_falls_again() {
        let revocations = Revocations::new(Duration::from_secs(600));
        let user = UserId(Uuid::from_u128(1));
        revocations.raise_version(user, 3);
        revocations.raise_version(user, 2);
        assert_eq!(revocations.check(&identity(1, 7, 2)), Err(Void::Stale));
        assert_eq!(revocations.check(&identity(1, 7, 3)), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_by_what_can_still_matter() {
        let revocations = Revocations::new(Duration::from_secs(600));
        for n in 0..5000 {
            revocations.end_session(SessionId(Uuid::from_u128(n)));
        }
        tokio::time::advance(Duration::from_secs(601)).await;
        for n in 5000..12000 {
            revocations.end_session(SessionId(Uuid::from_u128(n)));
        }
        let held = revocations.state.read().unwrap().sessions.len();
        assert!(held <= 7000, "{held}");
        assert!(revocations.check(&identity(1, 11999, 1)).is_err());
    }
}
