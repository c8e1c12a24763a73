//! Something between the service and Redis that can be cut or made to hang.

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Flows,
    /// Accepts, and passes nothing on.
    Hangs,
    /// Connections are closed as soon as they are made.
    Cut,
}

pub struct Relay {
    mode: watch::Sender<Mode>,
    url: String,
}

impl Relay {
    pub async fn to_redis() -> Self {
        let server = std::env::var("REDIS_URL").expect("REDIS_URL is not set: run `make test`");
        let mut url = url::Url::parse(&server).unwrap();
        let target = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(6379));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let (mode, watching) = watch::channel(Mode::Flows);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&target).await else { continue };
                let (from, to) = client.into_split();
                let (back, forth) = server.into_split();
                tokio::spawn(pass(from, forth, watching.clone()));
                tokio::spawn(pass(back, to, watching.clone()));
            }
        });
        Self { mode, url: url.into() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut mode: watch::Receiver<Mode>,
) {
    let mut cut = mode.clone();
    let passing = async {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let flows = mode.wait_for(|mode| *mode == Mode::Flows).await.is_ok();
            if !flows || to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = passing => {}
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}
