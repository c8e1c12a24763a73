//! `ops`: health checks and metrics.

use super::section::section;
use std::net::SocketAddr;

section! {
    /// Where those who run the service look at it.
    pub struct Ops ("ops", drafted as OpsDraft) {
        /// Private address and port for `/health/*` and `/metrics`; with none they are served on
        /// the port of the API.
        pub listen: Option<SocketAddr>,
    }
}
