//! The configuration: layers of settings, merged, checked as a whole, and from then on beyond
//! doubt. Every fault of every layer and section is found in one run.

mod auth;
mod cache;
mod cors;
mod database;
mod fault;
mod idempotency;
mod imports;
mod jobs;
mod limits;
mod log;
mod mail;
mod ops;
mod outbox;
mod redis;
mod report;
mod rules;
mod section;
mod server;
mod source;
mod telemetry;
#[cfg(test)]
mod tests;
mod types;

pub use self::log::Log;
pub use self::redis::Redis;
pub use auth::Auth;
pub use cache::Cache;
pub use cors::Cors;
pub use database::Database;
pub use fault::{ConfigError, Fault};
pub use idempotency::Idempotency;
pub use imports::Imports;
pub use jobs::Jobs;
pub use limits::Limits;
pub use mail::Mail;
pub use ops::Ops;
pub use outbox::Outbox;
pub use report::Setting;
pub use server::Server;
pub use source::Inputs;
pub use telemetry::Telemetry;
pub use types::{
    Environment, ForwardedHeader, LocalDelivery, LogFormat, MasterKey, Origin, Rate, Secret, Slots,
};

use self::log::LogDraft;
use self::redis::RedisDraft;
use auth::AuthDraft;
use cache::CacheDraft;
use cors::CorsDraft;
use database::DatabaseDraft;
use fault::Faults;
use idempotency::IdempotencyDraft;
use imports::ImportsDraft;
use jobs::JobsDraft;
use limits::LimitsDraft;
use mail::MailDraft;
use ops::OpsDraft;
use outbox::OutboxDraft;
use section::Key;
use server::ServerDraft;
use source::Values;
use telemetry::TelemetryDraft;
use url::Url;

/// Makes `Config`, its draft and the list of all keys from one list of sections.
macro_rules! sections {
    ($($field:ident: $section:ident, $draft:ident;)+) => {
        /// The settings of the process. Only `load` makes one, so it is proof that they are valid.
        #[derive(Debug, Clone)]
        pub struct Config {
            pub environment: Environment,
            $(pub $field: $section,)+
            _checked: Checked,
        }

        /// The sections while they are checked.
        struct Draft { $($field: $draft,)+ }

        impl Draft {
            fn read(values: &Values, faults: &mut Faults) -> Self {
                Self { $($field: $draft::read(values, faults),)+ }
            }

            fn finish(self, environment: Environment) -> Option<Config> {
                $(let $field = self.$field.finish()?;)+
                Some(Config { environment, $($field,)+ _checked: Checked })
            }
        }

        /// Every key there is, in the order of the sections.
        fn keys() -> impl Iterator<Item = &'static Key> {
            [$($draft::KEYS,)+].into_iter().flatten()
        }
    };
}

sections! {
    server: Server, ServerDraft;
    ops: Ops, OpsDraft;
    database: Database, DatabaseDraft;
    redis: Redis, RedisDraft;
    auth: Auth, AuthDraft;
    idempotency: Idempotency, IdempotencyDraft;
    outbox: Outbox, OutboxDraft;
    cache: Cache, CacheDraft;
    limits: Limits, LimitsDraft;
    cors: Cors, CorsDraft;
    jobs: Jobs, JobsDraft;
    imports: Imports, ImportsDraft;
    mail: Mail, MailDraft;
    log: Log, LogDraft;
    telemetry: Telemetry, TelemetryDraft;
}

/// Keeps other modules from writing a `Config` down by hand.
#[derive(Debug, Clone)]
struct Checked;

impl Config {
    /// Reads all layers and checks every rule. The error holds all faults, and no value.
    pub fn load(inputs: &Inputs) -> Result<Self, ConfigError> {
        let mut faults = Faults::default();
        let (environment, values) = source::layers(inputs, &mut faults);
        let draft = Draft::read(&values, &mut faults);
        rules::check(&draft, environment, &mut faults);
        let faults = faults.into_vec();
        match draft.finish(environment) {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(ConfigError { faults }),
        }
    }

    /// What links in mail begin with. It never comes from a request: whoever could choose it
    /// would be sent other people's tokens.
    pub fn link_base(&self) -> Url {
        let set = self.mail.link_base_url.as_ref().or(self.server.public_url.as_ref());
        set.cloned().unwrap_or_else(|| {
            let mut local = Url::parse("http://localhost").expect("a URL");
            let _ = local.set_port(Some(self.server.port));
            local
        })
    }
}
