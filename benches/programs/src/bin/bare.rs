//! Bare axum: the same hello, served with the defaults of `axum::serve`, and nothing else.

use axum::{Json, Router, routing::get};
use serde::Serialize;

#[derive(Serialize)]
struct Pong {
    pong: bool,
}

async fn ping() -> Json<Pong> {
    Json(Pong { pong: true })
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(0);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    axum::serve(listener, Router::new().route("/api/v1/ping", get(ping))).await
}
