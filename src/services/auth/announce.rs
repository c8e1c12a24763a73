//! Telling every instance that tokens became void: rows in the change feed inside the
//! transaction, then, after it, this instance at once and a hint to the others.

use sqlx::PgConnection;

use super::revocations::Revocations;
use crate::{
    domain::{
        feed::ChangeKind,
        ids::{SessionId, UserId},
    },
    error::Result,
    repos,
    shared::{bus::Bus, feed::Feed},
};

/// The topic on which instances tell each other to look at the feed.
pub const FEED_TOPIC: &str = "feed";

#[derive(Clone)]
pub struct Announcer {
    pub revocations: Revocations,
    pub feed: Feed,
    pub bus: Bus,
}

/// What a transaction made void. Written before the commit, announced after it.
#[derive(Debug, Default)]
#[must_use = "announce it after the commit"]
pub struct Voided {
    sessions: Vec<SessionId>,
    user: Option<(UserId, i64)>,
}

impl Voided {
    /// Access tokens of these sessions.
    pub async fn sessions(tx: &mut PgConnection, sessions: Vec<SessionId>) -> Result<Self> {
        let mut voided = Self::default();
        voided.add_sessions(tx, sessions).await?;
        Ok(voided)
    }

    pub async fn add_sessions(
        &mut self,
        tx: &mut PgConnection,
        sessions: Vec<SessionId>,
    ) -> Result<()> {
        if !sessions.is_empty() {
            let keys: Vec<_> = sessions.iter().map(|id| id.0).collect();
            repos::feed::append(tx, ChangeKind::Session, &keys, 0).await?;
            self.sessions.extend(sessions);
        }
        Ok(())
    }

    /// Access tokens of the user with a smaller version.
    pub async fn add_user(
        &mut self,
        tx: &mut PgConnection,
        user: UserId,
        version: i64,
    ) -> Result<()> {
        repos::feed::append(tx, ChangeKind::User, &[user.0], version).await?;
        self.user = Some((user, version));
        Ok(())
    }

    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }
}

impl Announcer {
    /// To be called when the transaction has committed.
    pub fn announce(&self, voided: &Voided) {
        for session in &voided.sessions {
            self.revocations.end_session(*session);
        }
        if let Some((user, version)) = voided.user {
            self.revocations.raise_version(user, version);
        }
        self.hint();
    }

    /// Something was written to the feed.
    pub fn hint(&self) {
        self.feed.nudge();
        self.bus.publish(FEED_TOPIC, "");
    }
}
