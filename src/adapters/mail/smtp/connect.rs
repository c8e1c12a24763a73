//! Opening a connection: TCP, TLS, greeting, password.

use std::{fs, io, time::Duration};

use lettre::transport::smtp::{
    authentication::{Credentials, Mechanism},
    client::{AsyncSmtpConnection, Certificate, TlsParameters},
    extension::ClientId,
};
use percent_encoding::percent_decode_str;
use url::Url;

use super::converse::Trouble;
use crate::{
    config::{self, Secret},
    telemetry::metrics as names,
};

/// A relay that takes longer to accept a connection is as good as down.
const CONNECT: Duration = Duration::from_secs(1);
const MECHANISMS: [Mechanism; 2] = [Mechanism::Plain, Mechanism::Login];

pub struct Relay {
    host: String,
    port: u16,
    security: Security,
    tls: TlsParameters,
    credentials: Option<Credentials>,
    client: ClientId,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Security {
    /// TLS from the first byte.
    Implicit,
    /// STARTTLS, or nothing.
    Upgrade,
    /// STARTTLS where it is offered.
    UpgradeIfOffered,
}

impl Relay {
    pub fn new(url: &Secret, config: &config::Mail) -> io::Result<Self> {
        // What is wrong with it is not repeated: it may hold a password.
        let invalid = || io::Error::other("the URL of the mail relay cannot be read");
        let url = Url::parse(url.expose()).map_err(|_| invalid())?;
        let host = url.host_str().ok_or_else(invalid)?.trim_matches(['[', ']']).to_owned();
        let security = match (url.scheme(), config.require_tls) {
            ("smtps", _) => Security::Implicit,
            (_, true) => Security::Upgrade,
            (_, false) => Security::UpgradeIfOffered,
        };
        Ok(Self {
            port: url.port().unwrap_or(default_port(security)),
            tls: tls(&host, config)?,
            credentials: credentials(&url).ok_or_else(invalid)?,
            client: ClientId::default(),
            host,
            security,
        })
    }

    pub async fn connect(&self) -> Result<AsyncSmtpConnection, Trouble> {
        let at_once = (self.security == Security::Implicit).then(|| self.tls.clone());
        let server = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT), &self.client, at_once, None)
                .await
                .map_err(|error| Trouble::of("the relay cannot be reached", &error))?;
        metrics::counter!(names::MAIL_CONNECTIONS).increment(1);
        self.secure(&mut connection).await?;
        if let Some(credentials) = &self.credentials {
            let entered = connection.auth(&MECHANISMS, credentials).await;
            entered.map_err(|error| Trouble::of("the relay refuses the password", &error))?;
        }
        Ok(connection)
    }

    async fn secure(&self, connection: &mut AsyncSmtpConnection) -> Result<(), Trouble> {
        if self.security == Security::Implicit {
            return Ok(());
        }
        if connection.can_starttls() {
            let upgraded = connection.starttls(self.tls.clone(), &self.client).await;
            return upgraded.map_err(|error| Trouble::of("TLS with the relay fails", &error));
        }
        match self.security {
            Security::UpgradeIfOffered => Ok(()),
            _ => Err(Trouble::relay("the relay offers no STARTTLS, which mail.require_tls wants")),
        }
    }
}

/// As registered: submission over TLS (RFC 8314), submission, and a relay of one's own.
fn default_port(security: Security) -> u16 {
    match security {
        Security::Implicit => 465,
        Security::Upgrade => 587,
        Security::UpgradeIfOffered => 25,
    }
}

fn tls(host: &str, config: &config::Mail) -> io::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(path) = &config.tls_ca_file {
        let certificate = fs::read(path)
            .and_then(|pem| Certificate::from_pem(&pem).map_err(io::Error::other))
            .map_err(|error| io::Error::new(error.kind(), format!("mail.tls_ca_file: {error}")))?;
        builder = builder.add_root_certificate(certificate);
    }
    builder.build().map_err(io::Error::other)
}

/// `None` if they are no text.
fn credentials(url: &Url) -> Option<Option<Credentials>> {
    let decoded = |text| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
    match url.password() {
        None => Some(None),
        Some(password) => {
            Some(Some(Credentials::new(decoded(url.username())?, decoded(password)?)))
        }
    }
}
