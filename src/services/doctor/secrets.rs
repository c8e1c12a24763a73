//! How hard secrets are to guess. What is said names none of their characters.

use std::collections::BTreeSet;

use url::Url;

use super::{Doctor, Verdict};
use crate::config::Secret;

/// 32 random bytes have about thirty different ones; fewer than this happens once in 10^12 keys.
const FEWEST_DISTINCT: usize = 20;
const SHORTEST_PASSWORD: usize = 12;

const MAKE_A_KEY: &str = "make one with `openssl rand -base64 32`, and set APP__AUTH__MASTER_KEY_FILE \
    to a file with it; the signing keys under the old one must be made anew";

pub async fn master_key(it: &Doctor) -> Verdict {
    let auth = &it.config.auth;
    if auth.has_development_key() {
        return it.fail_in_production("it is the public one of development", MAKE_A_KEY);
    }
    match looks_random(auth.master_key.bytes()) {
        true => Verdict::ok("looks random, and is not the one of development"),
        false => Verdict::fail("it can be guessed: it is text, or few bytes repeated", MAKE_A_KEY),
    }
}

/// No proof, but what people make up by hand is caught.
fn looks_random(key: &[u8; 32]) -> bool {
    let distinct: BTreeSet<_> = key.iter().collect();
    let is_text = key.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    let steps: BTreeSet<_> = key.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    distinct.len() >= FEWEST_DISTINCT && steps.len() >= FEWEST_DISTINCT && !is_text
}

/// Outside production servers are often let in by their address alone.
pub async fn passwords(it: &Doctor) -> Verdict {
    let config = &it.config;
    let all = [
        ("database.url", Some(&config.database.url)),
        ("database.migration_url", config.database.migration_url.as_ref()),
        ("redis.url", config.redis.url.as_ref()),
    ];
    let weak = |(key, url): &(&'static str, Option<&Secret>)| {
        url.is_some_and(|url| is_weak(url.expose())).then_some(*key)
    };
    let weak: Vec<_> = all.iter().filter_map(weak).collect();
    if weak.is_empty() {
        return Verdict::ok("those of Postgres and Redis are not short");
    }
    let detail = format!("none, or shorter than {SHORTEST_PASSWORD}: {}", weak.join(", "));
    match it.in_production() {
        true => Verdict::warn(detail, "give them long random passwords, or certificates"),
        false => Verdict::ok(detail + ", as is usual outside production"),
    }
}

/// What comes over a socket, or with a client certificate, needs no password.
fn is_weak(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let has = |name: &str| url.query_pairs().any(|(key, _)| key == name);
    let elsewhere = url.host_str().is_none_or(str::is_empty) || has("host") || has("sslcert");
    !elsewhere && url.password().is_none_or(|password| password.len() < SHORTEST_PASSWORD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_keys_do_not_look_random() {
        let counted = std::array::from_fn(|i| i as u8);
        for key in [[7; 32], *b"correct horse battery staple 42!", counted] {
            assert!(!looks_random(&key), "{key:?}");
        }
        for _ in 0..1000 {
            assert!(looks_random(&crate::shared::crypto::random()));
        }
    }

    #[test]
    fn short_and_missing_passwords_are_weak_where_one_is_needed() {
        for weak in ["postgres://a@db/x", "redis://db", "postgres://a:short@db/x"] {
            assert!(is_weak(weak), "{weak}");
        }
        for strong in
            ["postgres://a:0123456789ab@db/x", "postgres:///x", "postgres://a@db/x?sslcert=a"]
        {
            assert!(!is_weak(strong), "{strong}");
        }
    }
}
