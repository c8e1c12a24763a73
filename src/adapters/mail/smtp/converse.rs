//! One message over an open connection, and whose fault it is when it is not taken.

use lettre::transport::smtp::{
    client::AsyncSmtpConnection,
    commands::{Data, Mail, Rcpt, Rset},
    extension::{Extension, MailBodyParameter, MailParameter},
    response::Code,
};

use super::super::{Encoded, SendFailure};

type Refusal = lettre::transport::smtp::Error;

/// The relay has decided.
pub enum Answer {
    Taken,
    /// It does not want this message; it may want others.
    Refused(SendFailure),
}

/// The relay is of no use at the moment.
pub struct Trouble {
    pub reason: String,
    /// Nothing of the message has been heard.
    pub before_message: bool,
}

impl Trouble {
    pub fn relay(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), before_message: false }
    }

    /// Only the code of an answer: its words may repeat the recipient or a password.
    pub fn of(what: &str, error: &Refusal) -> Self {
        Self::relay(match error.status() {
            Some(code) => format!("{what}: {code}"),
            None if error.is_tls() => format!("{what}: no agreement on TLS"),
            None if error.is_client() => format!("{what}: {error}"),
            None => format!("{what}: the connection failed"),
        })
    }
}

/// Forgets half a message that the relay has refused. Done before the next one, so that a relay
/// that hangs now does not undo its answer.
pub async fn clear(connection: &mut AsyncSmtpConnection) -> Result<(), Trouble> {
    let cleared = connection.command(Rset).await;
    let trouble = |error| Trouble::of("the relay does not forget", &error);
    cleared.map(|_| ()).map_err(|error| Trouble { before_message: true, ..trouble(error) })
}

/// Until the relay wants to hear the message, or has refused it.
pub async fn offer(
    connection: &mut AsyncSmtpConnection,
    message: &Encoded,
) -> Result<Option<SendFailure>, Trouble> {
    let Some(parameters) = parameters(connection, message) else {
        let reason = "the relay cannot carry an address beyond ASCII (SMTPUTF8)";
        return Ok(Some(SendFailure::permanent(reason)));
    };
    let from = Mail::new(Some(message.from.clone()), parameters);
    if let Err(error) = connection.command(from).await {
        let trouble = Trouble::of("the relay refuses the sender", &error);
        return Err(Trouble { before_message: true, ..trouble });
    }
    let to = Rcpt::new(message.to.clone(), Vec::new());
    if let Err(error) = connection.command(to).await {
        return refused("the relay refuses the recipient", &error).map(Some);
    }
    if let Err(error) = connection.command(Data).await {
        return Err(Trouble::of("the relay refuses to listen", &error));
    }
    Ok(None)
}

/// The message itself, and what the relay says of it.
pub async fn tell(
    connection: &mut AsyncSmtpConnection,
    message: &Encoded,
) -> Result<Answer, Trouble> {
    match connection.message(&message.bytes).await {
        Ok(_) => Ok(Answer::Taken),
        Err(error) => refused("the relay refuses the message", &error).map(Answer::Refused),
    }
}

/// `None` when the relay cannot carry the message.
fn parameters(connection: &AsyncSmtpConnection, message: &Encoded) -> Option<Vec<MailParameter>> {
    if message.bytes.is_ascii() && AsRef::<str>::as_ref(&message.to).is_ascii() {
        return Some(Vec::new());
    }
    let can = |feature| connection.server_info().supports_feature(feature);
    (can(Extension::SmtpUtfEight) && can(Extension::EightBitMime)).then(|| {
        vec![MailParameter::SmtpUtfEight, MailParameter::Body(MailBodyParameter::EightBitMime)]
    })
}

/// 5xx is for good, 4xx for now, and 421 means that the relay is going away.
fn refused(what: &str, error: &Refusal) -> Result<SendFailure, Trouble> {
    match error.status() {
        Some(code) if !is_farewell(code) => {
            let reason = format!("{what}: {code}");
            Ok(match error.is_permanent() {
                true => SendFailure::permanent(reason),
                false => SendFailure::transient(reason),
            })
        }
        _ => Err(Trouble::of(what, error)),
    }
}

fn is_farewell(code: Code) -> bool {
    u16::from(code) == 421
}
