//! Letters that the service has sent.

use mainstay::{
    adapters::mail::Sent,
    domain::{ids::UserId, mail_tokens::Purpose},
    jobs,
};

use super::{TestApp, eventually};

impl TestApp {
    /// With a worker that delivers mail into memory.
    pub async fn mailing(vars: &[(&str, &str)]) -> Self {
        Self::working(jobs::registry, vars).await
    }

    /// All letters to an address, once nothing waits to be sent: in the order in which they were
    /// written, which is not that in which several workers send them.
    pub async fn letters(&self, address: &str) -> Vec<Sent> {
        let waiting = "select count(*) from jobs where kind = 'send_mail' and state <> 'succeeded'";
        eventually("all mail is sent", async || self.count(waiting).await == 0).await;
        let mut letters = self.app.services.post.mailer.memory().unwrap().sent_to(address);
        // Named after their jobs, whose ids grow.
        letters.sort_by(|one, other| one.message_id.cmp(&other.message_id));
        letters
    }

    pub async fn subjects(&self, address: &str) -> Vec<&'static str> {
        self.letters(address).await.iter().map(|sent| sent.content.subject).collect()
    }

    /// A token that no mail has carried.
    pub async fn link_token(&self, user: &str, purpose: Purpose) -> String {
        let (user, db) = (UserId(user.parse().unwrap()), &self.app.db);
        let tokens = &self.app.services.post.tokens;
        let issued = db.tx("test", async |tx| tokens.issue(tx, Some(user), purpose, None).await);
        let id = issued.await.unwrap().id;
        let found = db.read("test", async |conn| tokens.address(conn, id, purpose).await);
        let link = found.await.unwrap().expect("it holds").link;
        link.fragment().unwrap().strip_prefix("token=").unwrap().to_owned()
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
