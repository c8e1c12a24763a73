//! HTTP by hand, for clients that do not behave.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::Api;

/// The bytes of a request with a JSON body.
pub fn post(path: &str, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head, body].concat().into_bytes()
}

pub fn get(path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\n\r\n").into()
}

pub async fn connect(api: &Api) -> TcpStream {
    TcpStream::connect(api.address()).await.expect("the instance listens")
}

/// Sends, waits, and leaves without reading.
pub async fn send_and_leave(api: &Api, bytes: &[u8], stay: Duration) {
    let mut stream = connect(api).await;
    stream.write_all(bytes).await.expect("the instance reads");
    tokio::time::sleep(stay).await;
}

/// One request; the whole answer up to the end of the connection, or until nothing comes.
pub async fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.expect("the instance reads");
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while let Ok(Ok(read @ 1..)) = timeout(Duration::from_millis(500), stream.read(&mut part)).await
    {
        answer.extend_from_slice(&part[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
