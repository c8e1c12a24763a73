//! Rules over values that are each well typed: the tools for them, those that span sections, and
//! those of production. A rule is silent about a field that has a fault already.

use super::Draft;
use super::fault::Faults;
use super::section::Read;
use super::source::Values;
use super::types::{Environment, MasterKey, Origin, Value};
use std::net::SocketAddr;
use std::time::Duration;
use url::Url;

impl Faults {
    pub(super) fn must<T>(&mut self, read: &Read<T>, ok: impl FnOnce(&T) -> bool, problem: &str) {
        if read.value.as_ref().is_some_and(|value| !ok(value)) {
            self.key(read.key, &read.source, problem);
        }
    }

    pub(super) fn positive<T: Default + PartialOrd>(&mut self, read: &Read<T>) {
        self.must(read, |value| *value > T::default(), "must be more than zero");
    }

    pub(super) fn less<T: PartialOrd>(&mut self, low: &Read<T>, high: &Read<T>) {
        self.ordered(low, high, "less than", |low, high| low < high);
    }

    pub(super) fn at_most<T: PartialOrd>(&mut self, low: &Read<T>, high: &Read<T>) {
        self.ordered(low, high, "at most", |low, high| low <= high);
    }

    /// Names both keys and both origins, since either may be the one to change.
    fn ordered<T>(&mut self, low: &Read<T>, high: &Read<T>, how: &str, ok: fn(&T, &T) -> bool) {
        let Some(bound) = &high.value else { return };
        let problem = format!("must be {how} {} ({})", high.key, high.source);
        self.must(low, |value| ok(value, bound), &problem);
    }
}

pub(super) fn check(draft: &Draft, environment: Environment, faults: &mut Faults) {
    draft.server.rules(faults);
    draft.database.rules(faults);
    draft.redis.rules(faults);
    draft.auth.rules(faults);
    draft.idempotency.rules(faults);
    draft.outbox.rules(faults);
    draft.cache.rules(faults);
    draft.cors.rules(faults);
    draft.jobs.rules(faults);
    draft.imports.rules(faults);
    draft.log.rules(faults);
    draft.mail.rules(faults);
    draft.telemetry.rules(faults);
    across(draft, faults);
    if environment == Environment::Production {
        production(draft, faults);
    }
}

/// Each time limit lies within the one around it, so that the innermost is the one that strikes
/// and the fault is told where it arose.
fn across(draft: &Draft, faults: &mut Faults) {
    faults.less(&draft.database.statement_timeout, &draft.server.request_timeout);
    // A transaction lasts three statements at most, and whoever follows the change feed waits
    // half a minute for one.
    let told =
        |timeout: &Duration| draft.server.request_timeout.value.is_some_and(|all| *timeout >= all);
    let short = |timeout: &Duration| *timeout <= Duration::from_secs(8) || told(timeout);
    faults.must(&draft.database.statement_timeout, short, "must be at most 8s");
    let has_redis = draft.redis.url.value.as_ref().is_some_and(Option::is_some);
    let publishes = |stream: &Option<String>| has_redis || stream.is_none();
    faults.must(&draft.outbox.redis_stream, publishes, "needs redis.url");
    faults.at_most(&draft.jobs.drain_timeout, &draft.server.shutdown_timeout);
    ops_has_its_own_port(draft, faults);
}

fn ops_has_its_own_port(draft: &Draft, faults: &mut Faults) {
    let (Some(host), Some(port)) = (draft.server.host.value, draft.server.port.value) else {
        return;
    };
    let clash = |ops: SocketAddr| {
        let same_host = ops.ip() == host || ops.ip().is_unspecified() || host.is_unspecified();
        port != 0 && ops.port() == port && same_host
    };
    let problem = "is the address of the API itself; leave it empty to share the port";
    faults.must(&draft.ops.listen, |listen| !listen.is_some_and(clash), problem);
}

fn production(draft: &Draft, faults: &mut Faults) {
    let secret = |key: &MasterKey| !is_development_key(key);
    faults.must(&draft.auth.master_key, secret, "must not be the key of development");
    faults.must(&draft.auth.cookie_secure, |secure| *secure, "must be true in production");
    let https = |url: &Option<Url>| url.as_ref().is_none_or(|url| url.scheme() == "https");
    faults.must(&draft.server.public_url, https, "must be an https URL in production");
    let https = |all: &Vec<Origin>| all.iter().all(|origin| origin.as_str().starts_with("https:"));
    faults.must(&draft.cors.allowed_origins, https, "must be https origins in production");
    faults.must(&draft.server.port, |port| *port != 0, "must not be 0 in production");
    let public_url = draft.server.public_url.value.iter().flatten().next();
    draft.mail.in_production(public_url, faults);
}

/// Compares bytes, not text: base64 has more than one spelling of a key.
pub(super) fn is_development_key(key: &MasterKey) -> bool {
    let development = Values::embedded("development.toml");
    let shipped = development.find("auth.master_key").and_then(|raw| MasterKey::parse(raw).ok());
    shipped.is_some_and(|shipped| shipped.bytes() == key.bytes())
}
