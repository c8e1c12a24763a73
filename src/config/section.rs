//! `section!` makes, from one definition, the struct of a section, the list of its keys with their
//! docs, and a reader that reports each field's fault by itself. The struct, the table in the
//! README and the refusal of unknown keys can therefore not disagree.

use super::fault::Faults;
use super::source::{Source, Values};
use super::types::{Raw, Value};

/// What is known of a key without any value.
pub(super) struct Key {
    /// `section.field`.
    pub(super) name: &'static str,
    /// The doc comment of the field.
    pub(super) doc: &'static str,
    /// Whether the process cannot start without it.
    pub(super) required: bool,
    /// The value for people to read, masked where needed.
    pub(super) shown: fn(&Raw) -> String,
}

/// The variables of a key that other tools have made customary.
const CONVENTIONAL: [(&str, &str); 8] = [
    ("DATABASE_URL", "database.url"),
    ("DATABASE_MIGRATION_URL", "database.migration_url"),
    ("REDIS_URL", "redis.url"),
    ("SMTP_URL", "mail.smtp_url"),
    ("HOST", "server.host"),
    ("PORT", "server.port"),
    ("RUST_LOG", "log.filter"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "telemetry.otlp_endpoint"),
];

/// `APP__SERVER__PORT` for `server.port`.
pub(super) fn variable(key: &str) -> String {
    format!("APP__{}", key.replace('.', "__").to_uppercase())
}

/// `PORT` for `server.port`, if there is such a custom.
pub(super) fn conventional(key: &str) -> Option<&'static str> {
    CONVENTIONAL.iter().find(|(_, known)| *known == key).map(|(variable, _)| *variable)
}

/// A field as read: its value, unless a fault was reported for it, and what a rule needs to
/// report one.
pub(super) struct Read<T> {
    pub(super) key: &'static str,
    pub(super) source: Source,
    pub(super) value: Option<T>,
}

pub(super) fn read<T: Value>(values: &Values, key: &'static str, faults: &mut Faults) -> Read<T> {
    let (raw, source) = values.get(key);
    let value = match parse(raw, key) {
        Ok(value) => value,
        Err(problem) => {
            faults.key(key, source, problem);
            None
        }
    };
    Read { key, source: source.clone(), value }
}

fn parse<T: Value>(raw: &Raw, key: &str) -> Result<Option<T>, String> {
    match raw {
        Raw::Faulty => Ok(None),
        blank if T::REQUIRED && blank.is_blank() => {
            let name = conventional(key).map_or_else(|| variable(key), str::to_owned);
            Err(format!("is not set: set {name}"))
        }
        raw => T::parse(raw).map(Some),
    }
}

/// See the head of this file. The draft is the section while it is checked: every field by itself,
/// so that a fault of one keeps no rule from looking at the others.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        pub struct $name:ident ($section:literal, drafted as $draft:ident) {
            $($(#[doc = $doc:literal])+ pub $field:ident: $type:ty,)+
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone)]
        pub struct $name {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        pub(in crate::config) struct $draft {
            $(pub(in crate::config) $field: $crate::config::section::Read<$type>,)+
        }

        impl $draft {
            pub(in crate::config) const KEYS: &'static [$crate::config::section::Key] = &[
                $($crate::config::section::Key {
                    name: concat!($section, ".", stringify!($field)),
                    doc: concat!($($doc),+),
                    required: <$type as $crate::config::types::Value>::REQUIRED,
                    shown: $crate::config::types::shown::<$type>,
                },)+
            ];

            pub(in crate::config) fn read(
                values: &$crate::config::source::Values,
                faults: &mut $crate::config::fault::Faults,
            ) -> Self {
                Self {
                    $($field: $crate::config::section::read(
                        values,
                        concat!($section, ".", stringify!($field)),
                        faults,
                    ),)+
                }
            }

            pub(in crate::config) fn finish(self) -> Option<$name> {
                Some($name { $($field: self.$field.value?,)+ })
            }
        }
    };
}

pub(super) use section;
