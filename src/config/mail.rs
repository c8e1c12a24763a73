//! `mail`: outgoing mail.

use super::fault::Faults;
use super::section::section;
use super::types::Secret;

section! {
    /// How mail leaves the service.
    pub struct Mail ("mail", drafted as MailDraft) {
        /// `smtp://` or `smtps://` URL; with none, no mail is sent.
        pub smtp_url: Option<Secret>,
    }
}

impl MailDraft {
    pub(super) fn rules(&self, faults: &mut Faults) {
        let smtp = |url: &Option<Secret>| url.as_ref().is_none_or(is_smtp);
        faults.must(&self.smtp_url, smtp, "must be an smtp:// or smtps:// URL");
    }
}

fn is_smtp(url: &Secret) -> bool {
    let url = url::Url::parse(url.expose());
    url.is_ok_and(|url| matches!(url.scheme(), "smtp" | "smtps") && url.has_host())
}
