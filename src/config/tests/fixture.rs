//! Inputs for tests: variables written down, and files in a directory that goes away by itself.

use crate::config::{Config, ConfigError, Inputs};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub const DATABASE: &str = "postgres://localhost/mainstay";
/// 32 bytes that are not the key of development.
pub const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

pub fn inputs(vars: &[(&str, &str)]) -> Inputs {
    let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Inputs { vars: vars.collect(), config_dir: None }
}

/// A developer's machine with what it needs, and then the variables of the test.
pub fn development(vars: &[(&str, &str)]) -> Inputs {
    inputs(&[&[("DATABASE_URL", DATABASE)], vars].concat())
}

/// A valid production, and then the variables of the test.
pub fn production(vars: &[(&str, &str)]) -> Inputs {
    let valid = [
        ("APP_ENVIRONMENT", "production"),
        ("DATABASE_URL", DATABASE),
        ("APP__AUTH__MASTER_KEY", KEY),
        ("APP__AUTH__REQUIRE_VERIFIED_EMAIL", "false"),
        ("APP__MAIL__LOCAL_DELIVERY", "directory"),
    ];
    inputs(&[&valid, vars].concat())
}

pub fn load(vars: &[(&str, &str)]) -> Config {
    Config::load(&development(vars)).unwrap()
}

pub fn faults(inputs: &Inputs) -> ConfigError {
    Config::load(inputs).unwrap_err()
}

/// The keys at fault, in order; a fault without a key counts by its origin.
pub fn keys_at_fault(inputs: &Inputs) -> Vec<String> {
    let name = |fault: &crate::config::Fault| fault.key().unwrap_or(fault.origin()).to_owned();
    Config::load(inputs).err().iter().flat_map(ConfigError::faults).map(name).collect()
}

pub struct Dir(PathBuf);

impl Dir {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mainstay-config-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Inputs of a developer's machine whose `development.toml` is this text.
pub fn with_file(text: &str, vars: &[(&str, &str)]) -> (Dir, Inputs) {
    let dir = Dir::new();
    dir.file("development.toml", text);
    let inputs = Inputs { config_dir: Some(dir.path().to_owned()), ..development(vars) };
    (dir, inputs)
}
