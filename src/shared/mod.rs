//! Building blocks that know no domain and no HTTP route.

pub mod bus;
pub mod cache;
pub mod capacity;
pub mod circuit_breaker;
pub mod clock;
pub mod crypto;
pub mod cursor;
pub mod feed;
pub mod password_hasher;
pub mod rate_limit;
