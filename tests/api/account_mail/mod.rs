//! What goes by mail: each flow from the request over the letter to its end.

mod address;
mod notices;
mod recovery;
mod registration;
mod secrecy;

use serde_json::{Value, json};

use super::support::{Answer, TestApp, people::PASSWORD, statements};

const VERIFIED: (&str, &str) = ("APP__AUTH__REQUIRE_VERIFIED_EMAIL", "true");
const NEW_PASSWORD: &str = "copper-meadow-violin-81";

impl TestApp {
    async fn posted(&self, path: &str, body: Value) -> Answer {
        self.post(&format!("/api/v1/auth/{path}")).json(&body).send().await
    }

    async fn registered(&self, email: &str) -> Answer {
        self.posted("register", json!({"email": email, "password": PASSWORD, "name": "Ada"})).await
    }

    async fn verified(&self, token: &str) -> Answer {
        self.posted("email/verify", json!({"token": token})).await
    }

    async fn forgot(&self, email: &str) -> Answer {
        self.posted("password/forgot", json!({"email": email})).await
    }

    async fn reset(&self, token: &str, password: &str) -> Answer {
        self.posted("password/reset", json!({"token": token, "password": password})).await
    }

    async fn change_email(&self, access: &str, email: &str) -> Answer {
        let body = json!({"email": email, "current_password": PASSWORD});
        self.call("PUT", "/api/v1/users/me/email").bearer(access).json(&body).send().await
    }

    /// What one's own account is now.
    async fn me(&self, access: &str) -> Value {
        self.get("/api/v1/users/me").bearer(access).send().await.expect(200).json()
    }
}

/// All of an answer but the request's id, and the statements that it took.
async fn told(call: impl Future<Output = Answer>) -> (String, Vec<String>) {
    let (answer, mut statements) = statements::during(call).await;
    // Sent after the commit, for all requests of a tenth of a second together.
    statements.retain(|statement| !statement.contains("pg_notify"));
    let mut headers = answer.headers.clone();
    headers.remove("x-request-id");
    (format!("{} {headers:?} {:?}", answer.status, answer.body), statements)
}

fn is_dead_link(answer: Answer) {
    let answer = answer.expect_problem(422, "VALIDATION_FAILED");
    assert_eq!(answer.faults(), [("token".to_owned(), "token".to_owned())]);
}
