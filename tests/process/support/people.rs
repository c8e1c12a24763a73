//! Those who use the service.

use serde_json::json;

use super::{Api, Reply, unique};

/// Somebody who is signed in.
#[derive(Clone)]
pub struct Tokens {
    pub access: String,
    pub refresh: String,
    pub user: String,
}

/// Somebody who can sign in.
#[derive(Clone)]
pub struct Person {
    pub email: String,
    pub password: String,
}

impl Person {
    pub fn new() -> Self {
        let password = "orbit-velvet-lantern-42".to_owned();
        Self { email: unique("ada") + "@example.com", password }
    }
}

impl Api {
    pub async fn register(&self) -> Person {
        let person = Person::new();
        let Person { email, password } = &person;
        let body = json!({"email": email, "password": password, "name": "Grace Hopper"});
        self.post("/api/v1/auth/register", body).await.expect(201);
        person
    }

    pub async fn login(&self, person: &Person) -> Tokens {
        let Person { email, password } = person;
        let body = json!({"email": email, "password": password, "token_delivery": "body"});
        let reply = self.post("/api/v1/auth/login", body).await.expect(200);
        Tokens {
            access: reply.text_of("access_token"),
            refresh: reply.text_of("refresh_token"),
            user: reply.json()["user"]["id"].as_str().expect("an id").to_owned(),
        }
    }

    /// Somebody new, signed in.
    pub async fn sign_in(&self) -> Tokens {
        self.login(&self.register().await).await
    }

    pub async fn refresh(&self, token: &str) -> Reply {
        self.post("/api/v1/auth/refresh", json!({"refresh_token": token})).await
    }
}
