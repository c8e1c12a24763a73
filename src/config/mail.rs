//! `mail`: what the service writes to its users, and how it gets there.

use super::fault::Faults;
use super::section::section;
use super::types::{LocalDelivery, Secret};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

section! {
    /// Outgoing mail: a relay that speaks SMTP, or a place on this machine.
    pub struct Mail ("mail", drafted as MailDraft) {
        /// `smtp://` (STARTTLS) or `smtps://` (TLS from the first byte) URL of the relay, with
        /// user and password where it wants them.
        pub smtp_url: Option<Secret>,
        /// Where mail goes without `mail.smtp_url`: `directory` (also with none) or `memory`;
        /// production wants one of the two.
        pub local_delivery: Option<LocalDelivery>,
        /// Where `directory` puts a file for each message.
        pub directory: PathBuf,
        /// Whether a relay that offers no STARTTLS is refused; only one on this machine or a
        /// closed network may do without.
        pub require_tls: bool,
        /// PEM file with authorities to trust beside the public ones.
        pub tls_ca_file: Option<PathBuf>,
        /// Sender's address.
        pub from_address: String,
        /// Sender's name.
        pub from_name: String,
        /// Base of links in mail, such as a front end's; with none, `server.public_url`.
        pub link_base_url: Option<Url>,
        /// How long the relay may take until it wants to hear a message, once a connection is free
        /// for it, connecting included.
        pub timeout: Duration,
        /// How long it may take from then on; a message that it keeps later is sent twice.
        pub acknowledge_timeout: Duration,
        /// Connections to the relay open at once.
        pub max_connections: usize,
    }
}

const LONGEST: Duration = Duration::from_mins(1);
const LONGEST_ACKNOWLEDGE: Duration = Duration::from_mins(5);

impl MailDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        let smtp = |url: &Option<Secret>| url.as_ref().is_none_or(|url| parsed(url).is_some());
        faults.must(&self.smtp_url, smtp, "must be an smtp:// or smtps:// URL");
        faults.must(&self.from_address, |text| is_address(text), "must be an e-mail address");
        faults.must(&self.from_name, |name| is_name(name), "must be 1 to 100 plain characters");
        faults.positive(&self.timeout);
        faults.must(&self.timeout, |timeout| *timeout <= LONGEST, "must be at most 1m");
        faults.positive(&self.acknowledge_timeout);
        let longest = |timeout: &Duration| *timeout <= LONGEST_ACKNOWLEDGE;
        faults.must(&self.acknowledge_timeout, longest, "must be at most 5m");
        faults.positive(&self.max_connections);
        self.passwords_are_encrypted(faults);
    }

    fn passwords_are_encrypted(&self, faults: &mut Faults) {
        let open = |url: &Secret| {
            parsed(url).is_some_and(|url| url.scheme() == "smtp" && !url.username().is_empty())
        };
        let bare = self.smtp_url.value.iter().flatten().any(open);
        let problem = "must be true when mail.smtp_url holds a password and is not smtps://";
        faults.must(&self.require_tls, |required| *required || !bare, problem);
    }

    pub(super) fn in_production(&self, public_url: Option<&Url>, faults: &mut Faults) {
        // Messages that reach nobody are worse than a process that does not start.
        let local = self.local_delivery.value.is_none_or(|choice| choice.is_some());
        let problem = "is not set: set SMTP_URL, or mail.local_delivery to directory or memory";
        faults.must(&self.smtp_url, |url| url.is_some() || local, problem);
        let https = |url: &Option<Url>| url.as_ref().is_none_or(|url| url.scheme() == "https");
        faults.must(&self.link_base_url, https, "must be an https URL in production");
        if !matches!(self.smtp_url.value, Some(Some(_))) {
            return;
        }
        let real = |address: &String| !address.ends_with("@localhost");
        faults.must(&self.from_address, real, "must be set in production");
        let problem = "is not set: links in mail need it, or server.public_url";
        faults.must(&self.link_base_url, |url| url.is_some() || public_url.is_some(), problem);
    }
}

fn parsed(url: &Secret) -> Option<Url> {
    let url = Url::parse(url.expose()).ok()?;
    let bare = url.query().is_none() && url.fragment().is_none() && matches!(url.path(), "" | "/");
    let ours = matches!(url.scheme(), "smtp" | "smtps") && url.has_host() && bare;
    let whole = url.username().is_empty() == url.password().is_none();
    (ours && whole).then_some(url)
}

/// In ASCII, so that every relay takes it.
fn is_address(text: &str) -> bool {
    text.is_ascii() && text.parse::<lettre::Address>().is_ok()
}

fn is_name(name: &str) -> bool {
    let length = name.chars().count();
    !name.trim().is_empty() && length <= 100 && !name.chars().any(char::is_control)
}
