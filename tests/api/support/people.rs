//! Users of the tests.

use mainstay::{
    domain::{audit::Origin, users::Role},
    services::auth::NewAccount,
};
use serde_json::{Value, json};

use super::{Answer, Call, TestApp};

pub const PASSWORD: &str = "orbit-velvet-lantern-42";

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub struct Person {
    pub id: String,
    pub email: String,
    pub access: String,
    pub refresh: String,
    pub device: String,
}

impl TestApp {
    /// A customer who is signed in.
    pub async fn customer(&self, name: &str) -> Person {
        self.person(name, Role::Customer).await
    }

    pub async fn staff(&self, name: &str) -> Person {
        self.person(name, Role::Staff).await
    }

    pub async fn admin(&self, name: &str) -> Person {
        self.person(name, Role::Admin).await
    }

    pub async fn person(&self, name: &str, role: Role) -> Person {
        let email = format!("{name}@example.com");
        let account = NewAccount {
            email: email.clone(),
            password: PASSWORD.to_owned(),
            name: format!("Person {name}"),
        };
        let origin = Origin::command_line();
        self.app.services.auth.create_user(account, role, &origin).await.unwrap();
        self.sign_in(&email).await
    }

    /// Another session of somebody.
    pub async fn sign_in(&self, email: &str) -> Person {
        let body = json!({"email": email, "password": PASSWORD, "token_delivery": "body"});
        let answer = self.post("/api/v1/auth/login").json(&body).send().await.expect(200).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Person {
            id: text(&answer["user"]["id"]),
            email: email.to_owned(),
            access: text(&answer["access_token"]),
            refresh: text(&answer["refresh_token"]),
            device: text(&answer["device_token"]),
        }
    }

    pub async fn login(&self, email: &str, password: &str) -> Answer {
        let body = json!({"email": email, "password": password});
        self.post("/api/v1/auth/login").json(&body).send().await
    }

    pub fn refresh_call(&self, token: &str) -> Call {
        self.post("/api/v1/auth/refresh").json(&json!({"refresh_token": token}))
    }

    /// Whether an access token is taken here.
    pub async fn accepts(&self, access: &str) -> bool {
        self.get("/api/v1/ping").bearer(access).send().await.status == 200
    }
}
