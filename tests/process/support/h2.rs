//! HTTP/2 frame by frame, for clients that do not behave.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{Api, raw};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(20);

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const CANCEL: [u8; 4] = [0, 0, 0, 8];

pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn ends(&self, stream: u32) -> bool {
        self.stream == stream && (self.flags & END_STREAM != 0 && self.kind <= HEADERS)
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// GET: static entries for the method and scheme, literals for the path and host (RFC 7541).
fn get_fields(path: &str) -> Vec<u8> {
    let literal = |name: u8, value: &str| [&[name, value.len() as u8], value.as_bytes()].concat();
    [vec![0x82, 0x86], literal(0x04, path), literal(0x01, "test")].concat()
}

pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get_fields(path))
}

/// A POST of JSON whose body is still to come.
pub fn post_head(stream: u32, path: &str) -> Vec<u8> {
    let json = [&[0x0f, 0x10, 16][..], b"application/json"].concat();
    let mut fields = get_fields(path);
    fields[0] = 0x83;
    frame(HEADERS, END_HEADERS, stream, &[fields, json].concat())
}

pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

pub struct Connection(TcpStream);

impl Connection {
    /// `window`: how much of each answer may come unasked.
    pub async fn open(api: &Api, window: u32) -> Self {
        let mut connection = Self(raw::connect(api).await);
        let initial_window = [&[0, 4][..], &window.to_be_bytes()].concat();
        let settings = frame(SETTINGS, 0, 0, &initial_window);
        connection.send(&[PREFACE, &settings, &window_update(0, 1 << 30)].concat()).await;
        connection
    }

    /// False when the other side has gone.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        timeout(PATIENCE, self.0.write_all(bytes)).await.is_ok_and(|sent| sent.is_ok())
    }

    /// `None` when the connection has ended.
    pub async fn read(&mut self) -> Option<Frame> {
        let read = async {
            let mut head = [0; 9];
            self.0.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & !(1 << 31);
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        timeout(PATIENCE, read).await.expect("the connection is neither used nor closed")
    }

    /// All frames until this stream's answer is complete.
    pub async fn answer(&mut self, stream: u32) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.read().await {
            let last = frame.ends(stream);
            frames.push(frame);
            if last {
                return frames;
            }
        }
        panic!("the connection ended before the answer")
    }

    pub async fn ends(&mut self) {
        while self.read().await.is_some() {}
    }
}
