//! What clients do while instances are replaced, and what was acknowledged to them.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::{
    Api, Database, Person, Reply, Settings, Tokens, command::create_user, raw, unique,
};

/// Kinds of requests: as many workers make one each.
pub const WORKERS: usize = 8;

const PRODUCTS: &str = "/api/v1/products";

/// Somebody of the staff, and a product.
#[derive(Clone)]
pub struct Traffic {
    api: Api,
    person: Person,
    tokens: Tokens,
    product: String,
}

/// Changes that were acknowledged: by id of the request, by SKU, by booking.
#[derive(Default)]
pub struct Acknowledged {
    renamed: Mutex<Vec<String>>,
    created: Mutex<Vec<String>>,
    booked: Mutex<Vec<String>>,
}

impl Traffic {
    pub async fn new(api: &Api, settings: &Settings) -> Self {
        let person = Person::new();
        create_user(settings, "staff", &person.email, &person.password);
        let tokens = api.login(&person).await;
        let body = Some(new_product(&unique("KN")));
        let made = api.call(&tokens.access, Method::POST, PRODUCTS, body).await.expect(201);
        let product = format!("{PRODUCTS}/{}", made.text_of("id"));
        // A kept connection would meet the end of the nginx worker that is replaced when nginx is
        // told of something, which is no fault of ours.
        Self { api: api.without_keep_alive(), person, tokens, product }
    }

    pub async fn request(self, worker: usize, told: &Acknowledged) -> Result<Reply, String> {
        match worker {
            0 => {
                let body = json!({"name": unique("change")});
                let reply = self.staff(Method::PATCH, "/api/v1/users/me", Some(body)).await?;
                let id = reply.header("x-request-id").to_owned();
                note(&told.renamed, id, &reply);
                Ok(reply)
            }
            1 => self.upload().await,
            2 => self.api.attempt(Method::GET, "/api/v1/products?sort=newest", None, None).await,
            3 => self.api.attempt(Method::GET, &self.product, None, None).await,
            4 => {
                let body = json!({"email": self.person.email, "password": self.person.password});
                self.api.attempt(Method::POST, "/api/v1/auth/login", None, Some(body)).await
            }
            5 => {
                let sku = unique("KN");
                let reply = self.staff(Method::POST, PRODUCTS, Some(new_product(&sku))).await?;
                note(&told.created, sku, &reply);
                Ok(reply)
            }
            6 => {
                let (path, reason) = (format!("{}/stock-adjustments", self.product), unique("in"));
                let body = json!({"delta": 1, "reason": reason});
                let reply = self.staff(Method::POST, &path, Some(body)).await?;
                note(&told.booked, reason, &reply);
                Ok(reply)
            }
            _ => self.staff(Method::GET, "/api/v1/users/me", None).await,
        }
    }

    async fn staff(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Reply, String> {
        self.api.attempt(method, path, Some(&self.tokens.access), body).await
    }

    /// A body that takes a second to come, as from somebody on a train.
    async fn upload(&self) -> Result<Reply, String> {
        const PIECES: usize = 10;
        let (body, padding) = (r#"{"name": "uploaded"}"#, " ".repeat(20_000));
        let head = format!(
            "PATCH /api/v1/users/me HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            self.tokens.access,
            body.len() + PIECES * padding.len()
        );
        let mut stream = raw::connect(&self.api).await;
        let mut answer = String::new();
        let exchange = async {
            stream.write_all(head.as_bytes()).await?;
            for _ in 0..PIECES {
                stream.write_all(padding.as_bytes()).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            stream.write_all(body.as_bytes()).await?;
            stream.read_to_string(&mut answer).await
        };
        match timeout(Duration::from_secs(30), exchange).await {
            Ok(Ok(_)) => {}
            problem => return Err(format!("{problem:?} after {answer:?}")),
        }
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("no answer: {answer:?}"))?;
        Ok(Reply { status, headers: Default::default(), text: answer })
    }
}

fn new_product(sku: &str) -> Value {
    json!({"sku": sku, "name": "Chef's knife", "category": "home/kitchen",
        "price": {"amount": 1999, "currency": "EUR"}, "stock": 10})
}

fn note(list: &Mutex<Vec<String>>, what: String, reply: &Reply) {
    if (200..300).contains(&reply.status) {
        list.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

impl Acknowledged {
    /// Each is there, once.
    pub async fn is_stored(&self, database: &Database) {
        let queries = [
            (&self.renamed, "audit_events where action = 'user.updated' and request_id"),
            (&self.created, "products where sku"),
            (&self.booked, "stock_movements where reason"),
        ];
        for (list, of) in queries {
            let list = list.lock().unwrap().clone();
            assert!(!list.is_empty(), "nothing was stored: {of}");
            let values: Vec<_> = list.iter().map(|value| format!("'{value}'")).collect();
            let query = format!("select count(*) from {of} in ({})", values.join(", "));
            assert_eq!(database.number(&query).await, list.len() as i64, "{of}");
        }
    }
}
