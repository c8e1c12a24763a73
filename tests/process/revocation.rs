//! What ends a session or changes rights on one instance holds on every other within a second,
//! whatever Redis does.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::support::{
    Api, Database, Instance, Person, Services, Settings, Tokens, command::create_user, within,
};

const BOUND: Duration = Duration::from_secs(1);

/// Two instances, and an administrator.
struct Pair {
    here: Instance,
    there: Instance,
    database: Database,
    admin: Tokens,
}

impl Pair {
    async fn start(settings: &Settings, database: Database) -> Self {
        let here = Instance::ready(settings).await;
        let there = Instance::ready(settings).await;
        let admin = Person::new();
        create_user(settings, "admin", &admin.email, &admin.password);
        let admin = here.api.login(&admin).await;
        Self { here, there, database, admin }
    }

    /// Somebody both instances know, signed in twice.
    async fn somebody(&self) -> (Person, Tokens, Tokens) {
        let person = self.here.api.register().await;
        let one = self.here.api.login(&person).await;
        let other = self.there.api.login(&person).await;
        for tokens in [&one, &other] {
            for api in [&self.here.api, &self.there.api] {
                api.me(&tokens.access).await.expect(200);
            }
        }
        (person, one, other)
    }

    async fn refused_everywhere(&self, what: &str, tokens: &Tokens, code: &str) {
        // Where it happened there is nothing to wait for.
        assert_eq!(self.here.api.me(&tokens.access).await.expect(401).code(), code, "{what}");
        self.refused_by(&self.there.api, what, tokens, code).await;
    }

    async fn refused_by(&self, api: &Api, what: &str, tokens: &Tokens, code: &str) {
        within(what, BOUND, async || api.me(&tokens.access).await.status == 401).await;
        let refusal = api.me(&tokens.access).await.expect(401);
        assert_eq!(refusal.code(), code, "{what}");
        assert!(refusal.header("www-authenticate").contains(r#"error="invalid_token""#));
    }

    async fn ended_sessions(&self, user: &str, reason: &str) -> i64 {
        let query = format!(
            "select count(*) from sessions where user_id = '{user}' and end_reason = '{reason}'"
        );
        self.database.number(&query).await
    }

    async fn logout_ends_one_session(&self) {
        let (_, one, other) = self.somebody().await;
        let path = "/api/v1/auth/logout";
        self.here.api.call(&one.access, Method::POST, path, None).await.expect(204);
        self.refused_everywhere("logout", &one, "UNAUTHENTICATED").await;
        self.there.api.me(&other.access).await.expect(200);
        self.there.api.refresh(&one.refresh).await.expect(401);
        assert_eq!(self.ended_sessions(&one.user, "logout").await, 1);
    }

    async fn logout_all_ends_all(&self) {
        let (_, one, other) = self.somebody().await;
        let path = "/api/v1/auth/logout-all";
        self.here.api.call(&one.access, Method::POST, path, None).await.expect(204);
        self.refused_everywhere("logout-all, own session", &one, "UNAUTHENTICATED").await;
        self.refused_everywhere("logout-all, other session", &other, "UNAUTHENTICATED").await;
        assert_eq!(self.ended_sessions(&one.user, "logout_all").await, 2);
    }

    async fn a_new_password_ends_the_other_sessions(&self) {
        let (person, one, other) = self.somebody().await;
        let new = "quartz-meadow-trumpet-91";
        let body = json!({"current_password": person.password, "new_password": new});
        let path = "/api/v1/auth/password";
        self.here.api.call(&one.access, Method::PUT, path, Some(body)).await.expect(204);
        self.refused_everywhere("password change", &other, "UNAUTHENTICATED").await;
        self.there.api.me(&one.access).await.expect(200);
        assert_eq!(self.ended_sessions(&one.user, "password_changed").await, 1);
        self.there.api.login(&Person { password: new.to_owned(), ..person }).await;
    }

    async fn a_disabled_user_is_out(&self) {
        let (_, one, _) = self.somebody().await;
        self.patch(&one.user, json!({"disabled": true})).await;
        self.refused_everywhere("disable", &one, "TOKEN_STALE").await;
        self.there.api.refresh(&one.refresh).await.expect(401);
        let query = format!("select disabled_at is null from users where id = '{}'", one.user);
        assert!(!sqlx::Row::get::<bool, _>(&self.database.row(&query).await, 0));
    }

    async fn a_role_change_needs_a_new_token_and_no_new_login(&self) {
        let (_, one, _) = self.somebody().await;
        self.patch(&one.user, json!({"role": "staff"})).await;
        self.refused_everywhere("role change", &one, "TOKEN_STALE").await;
        let fresh = self.there.api.refresh(&one.refresh).await.expect(200);
        let me = self.there.api.me(&fresh.text_of("access_token")).await.expect(200).json();
        assert_eq!(me["role"], "staff");
    }

    async fn patch(&self, user: &str, change: serde_json::Value) {
        let path = format!("/api/v1/users/{user}");
        self.here
            .api
            .call(&self.admin.access, Method::PATCH, &path, Some(change))
            .await
            .expect(200);
    }

    async fn everything_that_voids_tokens(&self) {
        self.logout_ends_one_session().await;
        self.logout_all_ends_all().await;
        self.a_new_password_ends_the_other_sessions().await;
        self.a_disabled_user_is_out().await;
        self.a_role_change_needs_a_new_token_and_no_new_login().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_token_is_refused_by_the_other_instance_within_a_second() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url).with_redis();
    Pair::start(&settings, database).await.everything_that_voids_tokens().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_token_is_refused_by_the_other_instance_within_a_second_without_redis() {
    let database = Database::create().await;
    let settings = Settings::new(&database.url);
    Pair::start(&settings, database).await.everything_that_voids_tokens().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_void_token_is_refused_by_the_other_instance_within_a_second_when_redis_has_died() {
    let services = Services::private_redis();
    let database = Database::create().await;
    let settings = Settings::new(&database.url).set("REDIS_URL", services.redis_url());
    let pair = Pair::start(&settings, database).await;
    services.signal_redis("KILL");
    pair.everything_that_voids_tokens().await;
}
