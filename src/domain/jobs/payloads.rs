//! The payload of every kind of job. How a kind is run stands in `jobs/`, a file each.

use serde::{Deserialize, Serialize};

use super::{
    super::{ids::ImportId, mail::Mail},
    Payload,
};

/// Throws away finished jobs that have been kept long enough.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReapJobs {}

impl Payload for ReapJobs {
    const KIND: &'static str = "reap_jobs";

    fn unique_key(&self) -> Option<String> {
        Some(String::new())
    }
}

/// Writes to a user.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SendMail {
    pub mail: Mail,
}

impl Payload for SendMail {
    const KIND: &'static str = "send_mail";
}

/// Reads a staged file into the catalogue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ImportProducts {
    pub import: ImportId,
}

impl Payload for ImportProducts {
    const KIND: &'static str = "import_products";

    fn unique_key(&self) -> Option<String> {
        Some(self.import.to_string())
    }
}
