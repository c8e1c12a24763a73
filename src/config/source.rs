//! Where values come from: the layers, lowest first, and the origin of each value.

mod file;
mod suggestion;
mod variable;

use super::fault::Faults;
use super::types::{Environment, Raw, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub(super) const ENVIRONMENT: &str = "APP_ENVIRONMENT";
const CONFIG_DIR: &str = "APP_CONFIG_DIR";

/// Everything outside the program that the configuration depends on, passed in so that no test
/// touches the environment of its process. It has no `Debug`: the variables hold secrets.
#[derive(Clone, Default)]
pub struct Inputs {
    /// The environment variables.
    pub vars: BTreeMap<String, String>,
    /// Where files may override the embedded ones; with none, the embedded ones are used.
    pub config_dir: Option<PathBuf>,
}

impl Inputs {
    /// The variables of this process, and `APP_CONFIG_DIR` or else `./config`.
    pub fn from_process() -> Self {
        let vars: BTreeMap<String, String> = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()))
            .collect();
        let dir = vars.get(CONFIG_DIR).filter(|dir| !dir.is_empty());
        let config_dir = Some(PathBuf::from(dir.map_or("config", String::as_str)));
        Self { vars, config_dir }
    }

    /// A variable that is set. An empty one is not: compose files and CI have no other way to
    /// leave one out.
    pub(super) fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Where a value came from.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A file that is part of the program.
    Embedded(&'static str),
    /// A file of the configuration directory.
    File(PathBuf),
    Variable(String),
    /// The file that a variable names.
    Named(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Embedded(name) => write!(f, "built-in config/{name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Named(name) => write!(f, "file named by environment variable {name}"),
        }
    }
}

/// The value of every key after all layers, with its origin.
pub(super) struct Values(BTreeMap<&'static str, (Raw, Source)>);

impl Values {
    pub(super) fn get(&self, key: &str) -> &(Raw, Source) {
        static UNKNOWN: (Raw, Source) = (Raw::Text(String::new()), Source::Embedded(file::DEFAULT));
        self.0.get(key).unwrap_or(&UNKNOWN)
    }

    pub(super) fn set(&mut self, key: &'static str, raw: Raw, source: Source) {
        self.0.insert(key, (raw, source));
    }

    /// The keys of one embedded file alone.
    pub(super) fn embedded(name: &'static str) -> Self {
        let mut values = Self(BTreeMap::new());
        file::embedded(name, &mut values, &mut Faults::default());
        values
    }

    pub(super) fn find(&self, key: &str) -> Option<&Raw> {
        self.0.get(key).map(|(raw, _)| raw)
    }
}

/// Puts the layers upon each other; a fault of one does not keep the others from being read.
pub(super) fn layers(inputs: &Inputs, faults: &mut Faults) -> (Environment, Values) {
    let environment = environment(inputs, faults);
    let mut values = Values(BTreeMap::new());
    file::embedded(file::DEFAULT, &mut values, faults);
    file::environment(environment, inputs, &mut values, faults);
    variable::apply(inputs, &mut values, faults);
    (environment, values)
}

/// One that is not known is taken for production, whose rules are the strictest.
fn environment(inputs: &Inputs, faults: &mut Faults) -> Environment {
    let Some(text) = inputs.var(ENVIRONMENT) else { return Environment::Development };
    Environment::parse(&Raw::Text(text.to_owned())).unwrap_or_else(|problem| {
        faults.whole(&Source::Variable(ENVIRONMENT.to_owned()), problem);
        Environment::Production
    })
}
