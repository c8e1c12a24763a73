//! A relay that speaks SMTP over TCP and fails as it is told.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use super::tls;

/// A moment in the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    Greeting,
    Mail,
    Rcpt,
    Data,
    /// The message has come and is not kept yet.
    Message,
    /// The message is kept and not acknowledged yet.
    Acknowledgement,
    /// It is told to forget half a message.
    Reset,
}

/// What happens then.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    Say(&'static str),
    HangUp,
    /// Nothing, while the connection stays open.
    Silence,
    /// The fine answer, late.
    Delay(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tls {
    None,
    Upgrade,
    Implicit,
}

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Received {
    pub from: String,
    pub to: String,
    pub data: String,
    pub encrypted: bool,
    pub user: Option<String>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.data.split("\r\n\r\n").next()?;
        head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

pub struct Relay {
    pub address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    tls: Tls,
    password: Option<String>,
    faults: Mutex<HashMap<Step, Fault>>,
    received: Mutex<Vec<Received>>,
    /// Every command that was heard.
    heard: Mutex<String>,
    connections: AtomicUsize,
}

impl Relay {
    pub async fn start() -> Self {
        Self::with(Tls::None, None).await
    }

    /// `password` is that of the user `mainstay`, without whom nothing is taken.
    pub async fn with(tls: Tls, password: Option<&str>) -> Self {
        Self::on("127.0.0.1:0".parse().expect("an address"), tls, password).await
    }

    pub async fn on(address: SocketAddr, tls: Tls, password: Option<&str>) -> Self {
        let listener = TcpListener::bind(address).await.expect("the port is free");
        let state = Arc::new(State {
            tls,
            password: password.map(str::to_owned),
            faults: Mutex::default(),
            received: Mutex::default(),
            heard: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { address, state, task }
    }

    pub fn url(&self) -> String {
        let scheme = if self.state.tls == Tls::Implicit { "smtps" } else { "smtp" };
        let user = match &self.state.password {
            Some(password) => format!("mainstay:{password}@"),
            None => String::new(),
        };
        format!("{scheme}://{user}{}", self.address)
    }

    /// From now on, each time.
    pub fn fail(&self, step: Step, fault: Fault) {
        self.state.faults.lock().unwrap().insert(step, fault);
    }

    pub fn behave(&self) {
        self.state.faults.lock().unwrap().clear();
    }

    pub fn received(&self) -> Vec<Received> {
        self.state.received.lock().unwrap().clone()
    }

    pub fn heard(&self) -> String {
        self.state.heard.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }
}

/// It is gone with all its connections.
impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut open = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.fetch_add(1, Ordering::Relaxed);
        open.spawn(serve(stream, state.clone()));
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    let acceptor = (state.tls != Tls::None).then(|| tls::certificate().acceptor());
    let mut plain = match (state.tls, acceptor.clone()) {
        (Tls::Implicit, Some(acceptor)) => {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            return Talk::new(stream, state, true).run(true).await.unwrap_or_default();
        }
        _ => Talk::new(stream, state.clone(), false),
    };
    let upgrade = matches!(plain.run(true).await, Some(()));
    if let (true, Some(acceptor)) = (upgrade, acceptor) {
        let stream = plain.stream.into_inner();
        let Ok(stream) = acceptor.accept(stream).await else { return };
        Talk::new(stream, state, true).run(false).await.unwrap_or_default();
    }
}

struct Talk<S> {
    stream: BufReader<S>,
    state: Arc<State>,
    encrypted: bool,
    user: Option<String>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    fn new(stream: S, state: Arc<State>, encrypted: bool) -> Self {
        Self { stream: BufReader::new(stream), state, encrypted, user: None }
    }

    /// To the end, or `Some` when the client wants TLS now.
    async fn run(&mut self, greet: bool) -> Option<()> {
        if greet && self.at(Step::Greeting).await? {
            self.say("220 relay.example ESMTP").await?;
        }
        let (mut from, mut to) = (String::new(), String::new());
        loop {
            let line = self.line().await?;
            self.state.heard.lock().unwrap().push_str(&line);
            let (verb, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
            let inside = || rest.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.extensions().await?,
                "STARTTLS" => {
                    self.say("220 go ahead").await?;
                    return Some(());
                }
                "AUTH" => self.auth(rest).await?,
                "MAIL" if self.state.password.is_some() && self.user.is_none() => {
                    self.say("530 5.7.0 who are you").await?;
                }
                "MAIL" => {
                    from = inside();
                    self.answer(Step::Mail, "250 2.1.0 fine").await?;
                }
                "RCPT" => {
                    to = inside();
                    self.answer(Step::Rcpt, "250 2.1.5 fine").await?;
                }
                "DATA" => {
                    if self.answer(Step::Data, "354 go on").await? {
                        self.message(&from, &to).await?;
                    }
                }
                "RSET" => {
                    self.answer(Step::Reset, "250 2.0.0 fine").await?;
                }
                "QUIT" => {
                    let _ = self.say("221 bye").await;
                    return None;
                }
                _ => self.say("502 5.5.1 what").await?,
            }
        }
    }

    async fn extensions(&mut self) -> Option<()> {
        let mut lines = vec!["relay.example", "8BITMIME", "ENHANCEDSTATUSCODES"];
        if self.state.tls == Tls::Upgrade && !self.encrypted {
            lines.push("STARTTLS");
        }
        if self.state.password.is_some() {
            lines.push("AUTH PLAIN LOGIN");
        }
        let last = lines.len() - 1;
        for (number, line) in lines.into_iter().enumerate() {
            let sign = if number == last { ' ' } else { '-' };
            self.say(&format!("250{sign}{line}")).await?;
        }
        Some(())
    }

    async fn auth(&mut self, rest: &str) -> Option<()> {
        let given = rest.strip_prefix("PLAIN ").and_then(|text| STANDARD.decode(text).ok());
        let wanted = format!("\0mainstay\0{}", self.state.password.clone().unwrap_or_default());
        if given.is_some_and(|given| given == wanted.as_bytes()) {
            self.user = Some("mainstay".to_owned());
            return self.say("235 2.7.0 welcome").await;
        }
        self.say("535 5.7.8 no").await
    }

    async fn message(&mut self, from: &str, to: &str) -> Option<()> {
        let mut data = String::new();
        loop {
            let line = self.line().await?;
            match line.as_str() {
                ".\r\n" => break,
                line => data.push_str(line.strip_prefix('.').unwrap_or(line)),
            }
        }
        if !self.at(Step::Message).await? {
            return Some(());
        }
        let received = Received {
            from: from.to_owned(),
            to: to.to_owned(),
            data,
            encrypted: self.encrypted,
            user: self.user.clone(),
        };
        self.state.received.lock().unwrap().push(received);
        self.answer(Step::Acknowledgement, "250 2.0.0 kept").await.map(|_| ())
    }

    /// True when the fine answer was given.
    async fn answer(&mut self, step: Step, fine: &str) -> Option<bool> {
        let well = self.at(step).await?;
        if well {
            self.say(fine).await?;
        }
        Some(well)
    }

    /// True when nothing was said yet; `None` when the connection is to end.
    async fn at(&mut self, step: Step) -> Option<bool> {
        let fault = self.state.faults.lock().unwrap().get(&step).copied();
        match fault {
            None => Some(true),
            Some(Fault::Say(text)) => self.say(text).await.map(|()| false),
            Some(Fault::HangUp) => None,
            Some(Fault::Silence) => std::future::pending().await,
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                Some(true)
            }
        }
    }

    async fn say(&mut self, text: &str) -> Option<()> {
        self.stream.get_mut().write_all(format!("{text}\r\n").as_bytes()).await.ok()?;
        self.stream.get_mut().flush().await.ok()
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.stream.read_line(&mut line).await {
            Ok(1..) => Some(line),
            _ => None,
        }
    }
}
