//! Sending mail: through a relay that speaks SMTP, into a directory, or into memory.

use std::{fmt, io, time::Instant};

use crate::{
    config::{self, LocalDelivery},
    telemetry::metrics as names,
};

mod directory;
mod letters;
mod memory;
mod message;
pub mod preview;
mod smtp;

use directory::Directory;
pub use letters::{Content, Device, Letter, Letters, Moment};
pub use memory::{Memory, Sent};
use message::Sender;
pub use message::{Encoded, Message};
use smtp::Smtp;

/// One per process: connections, breaker and what is kept in memory are its own.
pub struct Mailer {
    sender: Sender,
    transport: Transport,
}

enum Transport {
    Smtp(Box<Smtp>),
    Directory(Directory),
    Memory(Memory),
}

/// Why a message was not sent. The text names neither the recipient nor what the relay said,
/// which often repeats the recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendFailure {
    pub kind: FailureKind,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// This message will never be taken: the recipient or the content was refused.
    Permanent,
    /// Later may be better. After a lost acknowledgement the message may have been sent.
    Transient,
    /// Nothing was tried: the relay did not answer lately.
    Unavailable,
}

impl SendFailure {
    fn permanent(reason: impl Into<String>) -> Self {
        Self { kind: FailureKind::Permanent, reason: reason.into() }
    }

    fn transient(reason: impl Into<String>) -> Self {
        Self { kind: FailureKind::Transient, reason: reason.into() }
    }

    fn unavailable() -> Self {
        let reason = "the relay did not answer lately and is left alone".to_owned();
        Self { kind: FailureKind::Unavailable, reason }
    }
}

impl fmt::Display for SendFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for SendFailure {}

impl Mailer {
    /// Opens no connection yet; fails when the authorities to trust cannot be read.
    pub fn new(config: &config::Mail) -> io::Result<Self> {
        let transport = match (&config.smtp_url, config.local_delivery) {
            (Some(url), _) => Transport::Smtp(Box::new(Smtp::new(url, config)?)),
            (None, Some(LocalDelivery::Memory)) => Transport::Memory(Memory::default()),
            (None, _) => Transport::Directory(Directory::new(&config.directory)),
        };
        Ok(Self { sender: Sender::new(config)?, transport })
    }

    pub async fn send(&self, message: &Message) -> Result<(), SendFailure> {
        let started = Instant::now();
        let result = match self.sender.encode(message) {
            Ok(encoded) => self.deliver(encoded).await,
            Err(failure) => Err(failure),
        };
        metrics::histogram!(names::MAIL_DURATION).record(started.elapsed().as_secs_f64());
        metrics::counter!(names::MAIL_SENT, "outcome" => outcome(&result)).increment(1);
        result
    }

    async fn deliver(&self, message: Encoded) -> Result<(), SendFailure> {
        match &self.transport {
            Transport::Smtp(smtp) => smtp.send(&message).await,
            Transport::Directory(directory) => directory.write(message).await,
            Transport::Memory(memory) => {
                memory.keep(message);
                Ok(())
            }
        }
    }

    /// The message as it would be sent, for whoever wants to look at it.
    pub fn encode(&self, message: &Message) -> Result<Encoded, SendFailure> {
        self.sender.encode(message)
    }

    /// What was sent, if it is kept in memory.
    pub fn memory(&self) -> Option<&Memory> {
        match &self.transport {
            Transport::Memory(memory) => Some(memory),
            Transport::Smtp(_) | Transport::Directory(_) => None,
        }
    }
}

fn outcome(result: &Result<(), SendFailure>) -> &'static str {
    match result.as_ref().map_err(|failure| failure.kind) {
        Ok(()) => "sent",
        Err(FailureKind::Permanent) => "refused",
        Err(FailureKind::Transient) => "failed",
        Err(FailureKind::Unavailable) => "kept_back",
    }
}
