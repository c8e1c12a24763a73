//! Letters that the service has sent.

use mainstay::{adapters::mail::Sent, jobs};

use super::{TestApp, eventually};

impl TestApp {
    /// With a worker that delivers mail into memory.
    pub async fn mailing(vars: &[(&str, &str)]) -> Self {
        Self::working(jobs::registry, vars).await
    }

    /// All letters to an address, oldest first, once nothing waits to be sent.
    pub async fn letters(&self, address: &str) -> Vec<Sent> {
        let waiting = "select count(*) from jobs where kind = 'send_mail' and state <> 'succeeded'";
        eventually("all mail is sent", async || self.count(waiting).await == 0).await;
        self.app.services.post.mailer.memory().unwrap().sent_to(address)
    }

    pub async fn subjects(&self, address: &str) -> Vec<&'static str> {
        self.letters(address).await.iter().map(|sent| sent.content.subject).collect()
    }

    /// The token of the newest link that was sent to an address.
    pub async fn newest_token(&self, address: &str) -> String {
        let letters = self.letters(address).await;
        let token = letters.iter().rev().find_map(|sent| {
            let (_, rest) = sent.content.text.split_once("#token=")?;
            rest.split_whitespace().next().map(str::to_owned)
        });
        token.unwrap_or_else(|| panic!("no link among {letters:?}"))
    }
}
