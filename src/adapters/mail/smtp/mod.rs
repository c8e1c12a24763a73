//! A relay that speaks SMTP (RFC 5321).
//!
//! The conversation is led here rather than by the library's transport: that one waits for
//! answers for ever, puts a connection back into its pool when a send is cancelled in the middle
//! (the next message would read the answers meant for this one), and cannot say whether it was
//! the recipient that was refused.

use std::{io, sync::Mutex, sync::PoisonError, time::Duration};

use lettre::transport::smtp::client::AsyncSmtpConnection;
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::{Encoded, SendFailure};
use crate::{
    config::{self, Secret},
    shared::circuit_breaker::CircuitBreaker,
};

mod connect;
mod converse;

use connect::Relay;
use converse::{Answer, Trouble};

/// Failures in a row after which the relay is left alone, and for how long.
const FAILURES: u32 = 5;
const LEFT_ALONE: Duration = Duration::from_secs(5);
/// Relays close idle connections after a minute or more.
const KEPT_IDLE: Duration = Duration::from_secs(30);

pub(super) struct Smtp {
    relay: Relay,
    /// Until the relay listens.
    deadline: Duration,
    /// From then on. Much longer: a relay that looks a message over may keep it in the end, and
    /// whoever has not waited for its answer sends it twice (RFC 5321, 4.5.3.2.6).
    acknowledged_within: Duration,
    breaker: CircuitBreaker,
    slots: Semaphore,
    idle: Mutex<Vec<(Line, Instant)>>,
}

/// An open connection between two messages.
struct Line {
    connection: AsyncSmtpConnection,
    /// The last message was refused half way.
    soiled: bool,
}

impl Line {
    /// With a refusal the relay has decided; with none it listens.
    async fn offer(mut self, message: &Encoded) -> Result<(Option<SendFailure>, Self), Trouble> {
        if self.soiled {
            converse::clear(&mut self.connection).await?;
        }
        let refusal = converse::offer(&mut self.connection, message).await?;
        Ok((refusal, self))
    }
}

impl Smtp {
    pub fn new(url: &Secret, config: &config::Mail) -> io::Result<Self> {
        Ok(Self {
            relay: Relay::new(url, config)?,
            deadline: config.timeout,
            acknowledged_within: config.acknowledge_timeout,
            breaker: CircuitBreaker::new("smtp", FAILURES, LEFT_ALONE),
            slots: Semaphore::new(config.max_connections),
            idle: Mutex::default(),
        })
    }

    pub async fn send(&self, message: &Encoded) -> Result<(), SendFailure> {
        let busy = || SendFailure::transient("all connections to the relay are busy");
        let slot = timeout(self.deadline, self.slots.acquire()).await;
        let _slot = slot.map_err(|_| busy())?.map_err(|_| busy())?;
        let permit = self.breaker.permit().ok_or_else(SendFailure::unavailable)?;
        match self.attempt(message).await {
            Ok(Answer::Taken) => permit.success(),
            Ok(Answer::Refused(failure)) => {
                permit.success();
                return Err(failure);
            }
            Err(trouble) => {
                permit.failure();
                return Err(SendFailure::transient(trouble.reason));
            }
        }
        Ok(())
    }

    /// A connection that fails or is cancelled on the way is closed by its drop.
    async fn attempt(&self, message: &Encoded) -> Result<Answer, Trouble> {
        let (refusal, mut line) = in_time(self.deadline, self.offer(message)).await?;
        let answer = match refusal {
            Some(refusal) => Answer::Refused(refusal),
            None => {
                let told = converse::tell(&mut line.connection, message);
                in_time(self.acknowledged_within, told).await?
            }
        };
        line.soiled = matches!(answer, Answer::Refused(_));
        self.keep(line);
        Ok(answer)
    }

    /// A connection that was kept may have died: then another is opened, since the message has
    /// not begun.
    async fn offer(&self, message: &Encoded) -> Result<(Option<SendFailure>, Line), Trouble> {
        if let Some(kept) = self.kept() {
            match kept.offer(message).await {
                Err(trouble) if trouble.before_message => {}
                result => return result,
            }
        }
        let fresh = Line { connection: self.relay.connect().await?, soiled: false };
        fresh.offer(message).await
    }

    fn keep(&self, line: Line) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((line, Instant::now()));
    }

    /// The newest one; those that are older than the relay may like are dropped.
    fn kept(&self) -> Option<Line> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(_, since)| since.elapsed() < KEPT_IDLE);
        idle.pop().map(|(line, _)| line)
    }
}

async fn in_time<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let late = |_| Err(Trouble::relay("the relay did not answer in time"));
    timeout(limit, work).await.unwrap_or_else(late)
}
