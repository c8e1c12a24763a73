//! Counting failed logins: by account, whether or not it exists, and by network.

use std::net::IpAddr;

use sqlx::PgConnection;

use super::Auth;
use crate::{
    domain::throttle::Bucket,
    error::{Code, Error, Result},
    repos::login_failures,
};

/// What one attempt is counted by.
pub struct Buckets {
    pub account: Bucket,
    network: Option<Bucket>,
}

impl Buckets {
    pub fn all(&self) -> Vec<Bucket> {
        [Some(self.account.clone()), self.network.clone()].into_iter().flatten().collect()
    }
}

impl Auth {
    pub(super) fn buckets(&self, email_key: &str, address: Option<IpAddr>) -> Buckets {
        let blind = |kind: &[u8], key: &[u8]| self.throttle_key.mac(&[kind, key]).to_vec();
        Buckets {
            account: blind(b"account", email_key.as_bytes()),
            network: address.map(|address| blind(b"network", &network(address))),
        }
    }

    /// Counts a failure. `Some(seconds)` when a bucket was blocked already: then this attempt
    /// was not heard, and its answer must not tell whether it was right.
    pub(super) async fn count_failure(
        &self,
        tx: &mut PgConnection,
        buckets: &Buckets,
    ) -> Result<Option<f64>> {
        let keys = buckets.all();
        let standings = login_failures::lock(tx, &keys).await?;
        let blocked = standings.iter().map(|standing| standing.blocked_secs).fold(0.0, f64::max);
        if blocked > 0.0 {
            return Ok(Some(blocked));
        }
        let rules = [self.settings.account_rule, self.settings.network_rule];
        let penalties: Vec<_> = standings
            .into_iter()
            .zip(rules)
            .map(|(standing, rule)| rule.after_failure(standing))
            .collect();
        login_failures::store(tx, &keys, &penalties).await?;
        Ok(None)
    }
}

pub(super) fn too_many_attempts(secs: f64) -> Error {
    Error::of(Code::TooManyAttempts).retry_after(std::time::Duration::from_secs_f64(secs.max(1.0)))
}

/// IPv6 hands a /64 to every household: it counts as one.
fn network(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets()[..8].to_vec(),
    }
}
