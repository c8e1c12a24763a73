//! Refresh over two instances: one successor per token, no logout for the impatient, an end for
//! thieves.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::join_all;

use crate::support::{Database, Instance, Reply, Settings, Tokens, raw, within};

const BOUND: Duration = Duration::from_secs(1);

struct Pair {
    here: Instance,
    there: Instance,
    database: Database,
}

impl Pair {
    async fn start(more: &[(&str, &str)]) -> Self {
        let database = Database::create().await;
        let mut settings = Settings::new(&database.url).with_redis();
        for (name, value) in more {
            settings = settings.set(name, *value);
        }
        let (here, there) = (Instance::ready(&settings).await, Instance::ready(&settings).await);
        Self { here, there, database }
    }

    async fn session(&self, user: &str) -> String {
        let query = format!("select id::text from sessions where user_id = '{user}'");
        self.database.text(&query).await
    }

    async fn generations(&self, user: &str) -> i64 {
        let session = self.session(user).await;
        let query = format!("select count(*) from refresh_tokens where session_id = '{session}'");
        self.database.number(&query).await
    }

    /// The session is over on both instances, for every token it had, and the trail tells why.
    async fn is_ended_for_theft(&self, tokens: &Tokens, others: &[&str]) {
        for instance in [&self.here, &self.there] {
            within("a stolen session ends", BOUND, async || {
                instance.api.me(&tokens.access).await.status == 401
            })
            .await;
            for token in others {
                instance.api.refresh(token).await.expect(401);
            }
        }
        let session = self.session(&tokens.user).await;
        let reason = format!("select end_reason from sessions where id = '{session}'");
        assert_eq!(self.database.text(&reason).await, "refresh_token_reused");
        let events = format!(
            "select count(*) from audit_events
             where action = 'auth.token_reuse' and target_id = '{session}'"
        );
        assert_eq!(self.database.number(&events).await, 1);
    }
}

fn refresh_token(reply: Reply) -> String {
    reply.expect(200).text_of("refresh_token")
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_parallel_refreshes_over_two_instances_give_one_successor_and_no_logout() {
    let pair = Pair::start(&[]).await;
    let tokens = pair.here.api.sign_in().await;
    let refreshes = (0..50).map(|n| {
        let api = if n % 2 == 0 { &pair.here.api } else { &pair.there.api };
        api.refresh(&tokens.refresh)
    });
    let replies = join_all(refreshes).await;
    let accesses: Vec<_> = replies.iter().map(|reply| reply.text_of("access_token")).collect();
    let successors: BTreeSet<_> = replies.into_iter().map(refresh_token).collect();
    assert_eq!(successors.len(), 1, "several successors");
    assert_eq!(pair.generations(&tokens.user).await, 2, "a parent and one child");
    for access in accesses.iter().chain([&tokens.access]) {
        pair.there.api.me(access).await.expect(200);
    }
    let successor = successors.first().expect("one");
    assert_ne!(*successor, tokens.refresh);
    pair.there.api.refresh(successor).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parent_after_its_window_ends_the_session_everywhere() {
    let pair = Pair::start(&[("APP__AUTH__REFRESH_REUSE_WINDOW", "1s")]).await;
    let tokens = pair.here.api.sign_in().await;
    let child = refresh_token(pair.there.api.refresh(&tokens.refresh).await);
    assert_eq!(refresh_token(pair.here.api.refresh(&tokens.refresh).await), child);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let refusal = pair.there.api.refresh(&tokens.refresh).await.expect(401);
    assert_eq!(refusal.code(), "REFRESH_TOKEN_REUSED");
    assert!(refusal.headers.get("set-cookie").is_none(), "a winner's cookie would be lost");
    pair.is_ended_for_theft(&tokens, &[&child, &tokens.refresh]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_ancestor_ends_the_session_at_any_time() {
    let pair = Pair::start(&[]).await;
    let tokens = pair.here.api.sign_in().await;
    let child = refresh_token(pair.here.api.refresh(&tokens.refresh).await);
    let grandchild = refresh_token(pair.there.api.refresh(&child).await);
    let refusal = pair.there.api.refresh(&tokens.refresh).await.expect(401);
    assert_eq!(refusal.code(), "REFRESH_TOKEN_REUSED");
    pair.is_ended_for_theft(&tokens, &[&grandchild, &child, &tokens.refresh]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_hashes_of_refresh_tokens_are_stored() {
    let pair = Pair::start(&[]).await;
    let tokens = pair.here.api.sign_in().await;
    let child = refresh_token(pair.here.api.refresh(&tokens.refresh).await);
    let dump = "select coalesce(string_agg(r::text || s::text, ''), '')
                from refresh_tokens r cross join sessions s";
    let dump = pair.database.text(dump).await;
    for token in [&tokens.refresh, &child] {
        let bytes = hex_of(token);
        assert!(!dump.contains(token.as_str()) && !dump.contains(&bytes[32..]), "{dump}");
    }
}

/// 16 bytes of session, 32 of secret.
fn hex_of(token: &str) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(token).expect("base64url");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_killed_before_its_answer_arrives_costs_nobody_the_session() {
    for delay_ms in [0, 2, 5, 10, 20] {
        let mut pair = Pair::start(&[]).await;
        let tokens = pair.there.api.sign_in().await;
        let body = serde_json::json!({"refresh_token": tokens.refresh});
        let request = raw::post("/api/v1/auth/refresh", &body);
        raw::send_and_leave(&pair.here.api, &request, Duration::from_millis(delay_ms)).await;
        pair.here.signal("KILL");
        pair.here.exit().await;
        let child = refresh_token(pair.there.api.refresh(&tokens.refresh).await);
        let again = refresh_token(pair.there.api.refresh(&tokens.refresh).await);
        assert_eq!(child, again, "two live lines");
        pair.there.api.me(&tokens.access).await.expect(200);
        pair.there.api.refresh(&child).await.expect(200);
        assert_eq!(pair.generations(&tokens.user).await, 3);
        let events = "select count(*) from audit_events where action = 'auth.token_reuse'";
        assert_eq!(pair.database.number(events).await, 0);
    }
}
