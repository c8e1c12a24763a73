//! Mainstay: accounts and what grows around them, as one HTTP API over Postgres and Redis.
//!
//! ```text
//! main -> app -> server, routes -> handlers, jobs, events -> services -> repos, adapters, shared -> domain, error
//!                middleware -> services, shared       config, telemetry, db, redis: leaves
//! ```
//!
//! A request passes `middleware` (the list in its `mod.rs` reads from outside in), meets its
//! row in `routes`, is unwrapped by a thin function in `handlers`, decided in `services` and
//! stored by `repos`. Every layer uses the same word for the same domain: follow one with
//! `rg 'users::'`. `tests/architecture.rs` holds who may import whom.

#![forbid(unsafe_code)]

pub mod app;
pub mod lifecycle;
pub mod server;

pub mod adapters;
pub mod domain;
pub mod error;
pub mod events;
pub mod handlers;
pub mod jobs;
pub mod middleware;
pub mod repos;
pub mod routes;
pub mod services;
pub mod shared;

pub mod config;
pub mod db;
pub mod redis;
pub mod telemetry;
