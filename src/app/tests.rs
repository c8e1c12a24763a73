//! What is wired wrongly works all the same, for a while.

use std::{collections::BTreeMap, time::Duration};

use uuid::Uuid;

use super::App;
use crate::{
    config::{Config, Inputs},
    domain::{
        auth::Identity,
        ids::{SessionId, UserId},
        users::Role,
    },
};

fn app(vars: &[(&str, &str)]) -> App {
    let mut all = BTreeMap::from([("DATABASE_URL", "postgres://localhost/mainstay")]);
    all.extend(vars.iter().copied());
    let vars = all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    App::new(Config::load(&Inputs { vars, config_dir: None }).unwrap()).unwrap()
}

fn of_session(number: u128) -> Identity {
    Identity {
        user_id: UserId(Uuid::nil()),
        session_id: SessionId(Uuid::from_u128(number)),
        role: Role::Customer,
        version: 1,
    }
}

/// Also those that were given by a clock that is ahead, and are shown to one that is behind.
#[tokio::test(start_paused = true)]
async fn revocations_are_kept_as_long_as_tokens_live() {
    let app = app(&[("APP__AUTH__ACCESS_TTL", "15m"), ("APP__AUTH__LEEWAY", "60s")]);
    let revocations = &app.announcer.revocations;
    revocations.end_session(of_session(0).session_id);
    tokio::time::advance(Duration::from_secs(17 * 60)).await;
    // So many that those are swept away which can go.
    (1..5000).for_each(|number| revocations.end_session(of_session(number).session_id));
    assert!(revocations.check(&of_session(0)).is_err());
    tokio::time::advance(Duration::from_secs(1)).await;
    (5000..10_000).for_each(|number| revocations.end_session(of_session(number).session_id));
    assert!(revocations.check(&of_session(0)).is_ok(), "nothing can go");
}
