//! `server`: the listener, its limits and its deadlines.

use super::fault::Faults;
use super::section::section;
use super::types::ForwardedHeader;
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::Duration;
use url::Url;

section! {
    /// Where the API listens, how much it takes on at once, and how long it waits.
    pub struct Server ("server", drafted as ServerDraft) {
        /// Address the API listens on.
        pub host: IpAddr,
        /// Port the API listens on; 0 takes any free one.
        pub port: u16,
        /// Where clients reach the API: the base of links and its own `Origin`.
        pub public_url: Option<Url>,
        /// Client connections open at once; beyond, new ones wait to be accepted.
        pub max_connections: usize,
        /// Requests worked on at once; beyond, they are answered 503. A fifth is kept for writes,
        /// logins and refreshes.
        pub max_in_flight: usize,
        /// How long work may have to wait for a connection to Postgres or for a processor; beyond,
        /// fewer requests are let in at once, until that is over.
        pub tolerated_wait: Duration,
        /// Deadline of a request, after which it is answered 504.
        pub request_timeout: Duration,
        /// How long an unsafe request may run in all: it goes on after its deadline, so that its
        /// outcome is not left to chance, but not for ever.
        pub hard_timeout: Duration,
        /// After SIGTERM, how long new requests are still served, until load balancers have
        /// noticed.
        pub drain_delay: Duration,
        /// After the drain delay, how long work in flight may take to finish.
        pub shutdown_timeout: Duration,
        /// How long a client may take to begin, and to finish, the head of a request.
        pub head_timeout: Duration,
        /// How long a connection may wait for its next request; above that of the proxy in front.
        pub idle_timeout: Duration,
        /// After this long, a body must have come at 1 KiB/s or faster.
        pub body_grace: Duration,
        /// How long a client may read nothing of an answer.
        pub write_timeout: Duration,
        /// Requests of one address worked on at once; beyond, they are answered 503.
        pub max_in_flight_per_client: usize,
        /// Largest JSON body, in bytes.
        pub json_limit_bytes: usize,
        /// Header in which a trusted proxy names the client: `none`, `x-forwarded-for` or
        /// `forwarded`.
        pub forwarded_header: ForwardedHeader,
        /// Addresses and networks whose forwarded header is believed.
        pub trusted_proxies: Vec<IpNet>,
        /// Smallest response that is compressed, in bytes.
        pub compression_min_bytes: u16,
    }
}

impl ServerDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        faults.positive(&self.max_connections);
        faults.positive(&self.max_in_flight);
        faults.must(&self.tolerated_wait, |wait| !wait.is_zero(), "must be longer than 0");
        faults.positive(&self.max_in_flight_per_client);
        for timer in [&self.head_timeout, &self.idle_timeout, &self.body_grace, &self.write_timeout]
        {
            faults.must(timer, |timer| !timer.is_zero(), "must be longer than 0");
        }
        faults.positive(&self.json_limit_bytes);
        faults.less(&self.request_timeout, &self.hard_timeout);
        faults.at_most(&self.hard_timeout, &self.shutdown_timeout);
        self.forwarded_header_needs_proxies(faults);
    }

    /// Without a list of proxies, any client could name the address it likes to be counted under.
    fn forwarded_header_needs_proxies(&self, faults: &mut Faults) {
        let none = self.trusted_proxies.value.as_ref().is_some_and(Vec::is_empty);
        let fits = |header: &ForwardedHeader| *header == ForwardedHeader::None || !none;
        faults.must(&self.forwarded_header, fits, "needs server.trusted_proxies");
    }
}
