//! Settings that are valid, and yet may not be what was meant. Those that never are, in
//! production, the configuration itself refuses.

use super::{Doctor, Verdict};
use crate::config::{ForwardedHeader, LogFormat};

pub async fn environment(it: &Doctor) -> Verdict {
    let config = &it.config;
    let environment = config.environment.to_string();
    if !it.in_production() {
        return Verdict::ok(environment);
    }
    match (config.database.migrate_on_start, config.log.format) {
        (true, _) => Verdict::warn(
            "every instance migrates as it starts, with the rights of the service",
            "set APP__DATABASE__MIGRATE_ON_START=false and run `mainstay migrate up` once before",
        ),
        (false, LogFormat::Pretty) => {
            Verdict::warn("log lines are for people", "set APP__LOG__FORMAT=json")
        }
        (false, LogFormat::Json) => Verdict::ok(environment),
    }
}

/// Who may call with cookies, and how these are kept.
pub async fn browsers(it: &Doctor) -> Verdict {
    let (server, auth) = (&it.config.server, &it.config.auth);
    if !auth.cookie_secure {
        return it.fail_in_production(
            "cookies go over plain HTTP too",
            "set APP__AUTH__COOKIE_SECURE=true where there is TLS",
        );
    }
    match server.public_url {
        Some(_) => Verdict::ok("secure cookies, and the origin of the service is known"),
        None => Verdict::warn(
            "server.public_url is not set: which Origin is the service's own is not known",
            "set APP__SERVER__PUBLIC_URL to the https URL by which clients reach it",
        ),
    }
}

/// By which limits count.
pub async fn client_addresses(it: &Doctor) -> Verdict {
    let server = &it.config.server;
    match server.forwarded_header {
        ForwardedHeader::None if it.in_production() => Verdict::warn(
            "taken from the connection: behind a proxy all clients share one limit",
            "set APP__SERVER__FORWARDED_HEADER and APP__SERVER__TRUSTED_PROXIES, if there is one",
        ),
        ForwardedHeader::None => Verdict::ok("taken from the connection"),
        header => {
            Verdict::ok(format!("{header} of {} trusted networks", server.trusted_proxies.len()))
        }
    }
}

pub async fn rate_limits(it: &Doctor) -> Verdict {
    match it.config.limits.enabled {
        true => Verdict::ok("on"),
        false => it.fail_in_production("off", "set APP__LIMITS__ENABLED=true"),
    }
}

/// Metrics tell strangers more than they should know.
pub async fn operations_port(it: &Doctor) -> Verdict {
    match it.config.ops.listen {
        Some(_) => Verdict::ok("health and metrics have a port of their own"),
        None if it.in_production() => Verdict::warn(
            "health and metrics are on the port of the API",
            "set APP__OPS__LISTEN, or keep /metrics from passing the proxy",
        ),
        None => Verdict::ok("health and metrics are on the port of the API"),
    }
}
