//! The real binary as an operator meets it: bad configuration, several instances side by side,
//! signals, and dependencies that break under it.
//!
//! Tests that break Postgres or Redis start private ones (`support::services`); the others make a
//! database of their own on the server of `DATABASE_URL` and take a prefix of their own in the
//! Redis of `REDIS_URL`. Promises about time are asserted at three times their bound, and the
//! figure goes to standard error.

mod support;

mod account_mail;
mod boot;
mod cache;
mod commands;
mod configuration;
mod departing_clients;
mod doctor;
mod edge;
mod exhaustion;
mod forced_shutdown;
mod health_feed;
mod http2;
mod idempotency;
mod imports;
mod jobs;
mod key_rotation;
mod log_pipe;
mod mail_letters;
mod mail_relay;
mod mail_relay_fails;
mod mail_relay_tls;
mod mail_servers;
mod metrics;
mod outbox;
mod overload;
mod password_hashes;
mod postgres_hangs;
mod postgres_reads_only;
mod postgres_refuses;
mod postgres_restarts;
mod redis_faults;
mod refresh_tokens;
mod revocation;
mod roles;
mod rolling_restart;
mod secrecy;
mod shutdown;
mod signing_keys;
mod smuggling;
mod traces;
mod typescript;
mod upgrades;
