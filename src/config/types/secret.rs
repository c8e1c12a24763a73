//! Values that are never shown.

use super::{Raw, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;

/// Text that neither `Debug` nor `Display` shows; whoever needs it says so with `expose`.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Value for Secret {
    const SECRET: bool = true;
    const REQUIRED: bool = true;

    fn parse(raw: &Raw) -> Result<Self, String> {
        raw.one().map(|text| text.to_owned().into())
    }
}

/// The key under which the signing keys are encrypted: 32 bytes, written in base64.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Value for MasterKey {
    const SECRET: bool = true;
    const REQUIRED: bool = true;

    fn parse(raw: &Raw) -> Result<Self, String> {
        let bytes = STANDARD.decode(raw.one()?).ok();
        let key = bytes.and_then(|bytes| bytes.try_into().ok()).map(Self);
        key.ok_or_else(|| "must be 32 bytes in base64, as of: openssl rand -base64 32".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_shows_itself_to_no_formatter() {
        let secret = Secret::from("canary".to_owned());
        assert_eq!(format!("{secret} {secret:?} {secret:#?}"), "[secret] [secret] [secret]");
        assert_eq!(secret.expose(), "canary");
    }

    #[test]
    fn a_master_key_is_32_bytes_in_base64() {
        let parse = |bytes: &[u8]| MasterKey::parse(&Raw::Text(STANDARD.encode(bytes)));
        assert_eq!(parse(&[7; 32]).unwrap().bytes(), &[7; 32]);
        assert_eq!(format!("{:?}", parse(&[7; 32]).unwrap()), "[secret]");
        assert!(parse(&[7; 31]).is_err());
        assert!(parse(&[7; 33]).is_err());
        assert!(MasterKey::parse(&Raw::Text("not base64!".to_owned())).is_err());
    }
}
