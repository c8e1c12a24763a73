//! Randomness, digests, keyed digests and encryption at rest, over aws-lc.
//!
//! One master key is expanded into a key per purpose (HKDF-SHA256, RFC 5869), so that no two
//! uses share key material.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time, digest, hkdf, hmac,
    rand::{SecureRandom, SystemRandom},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Names the format of a sealed value, so that it can change one day.
const SEAL_VERSION: u8 = 1;

/// Random bytes from the system. There is no other source of randomness in the service.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).expect("the operating system always has randomness");
    bytes
}

pub fn sha256(data: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, data).as_ref());
    out
}

/// SHA-256 of what comes in pieces.
pub struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Sha256 {
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.finish().as_ref());
        out
    }
}

pub fn to_base64url(data: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(data)
}

/// Strict: padding and non-canonical endings are refused.
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// A key for one purpose.
pub struct Keyed {
    mac: hmac::Key,
    seal: LessSafeKey,
}

struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

impl Keyed {
    pub fn derive(master: &[u8; 32], purpose: &str) -> Self {
        let mac = hmac::Key::new(hmac::HMAC_SHA256, &expand(master, purpose, "mac"));
        let seal = UnboundKey::new(&AES_256_GCM, &expand(master, purpose, "seal"))
            .expect("an AES-256 key has 32 bytes, and so has this one");
        Self { mac, seal: LessSafeKey::new(seal) }
    }

    /// HMAC-SHA256 over the parts, each with its length, so that no two lists collide.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.mac);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut out = [0; 32];
        out.copy_from_slice(context.sign().as_ref());
        out
    }

    /// AES-256-GCM under a fresh nonce: version, nonce, ciphertext. `label` is authenticated
    /// with it, so that a value cannot be moved to another row.
    pub fn seal(&self, label: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce = random::<NONCE_LEN>();
        let mut sealed = plain.to_vec();
        self.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(label),
                &mut sealed,
            )
            .expect("sealing fails only for plaintexts of many gigabytes");
        [&[SEAL_VERSION][..], &nonce, &sealed].concat()
    }

    /// `None` when the value was sealed under another key, for another label, or changed.
    pub fn open(&self, label: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (&version, rest) = sealed.split_first()?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut body = body.to_vec();
        let plain = self.seal.open_in_place(nonce, Aad::from(label), &mut body).ok()?;
        (version == SEAL_VERSION).then(|| plain.to_vec())
    }
}

/// Equality in a time that tells nothing of where two values differ.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}

fn expand(master: &[u8; 32], purpose: &str, part: &str) -> [u8; 32] {
    let mut out = [0; 32];
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"mainstay")
        .extract(master)
        .expand(&[purpose.as_bytes(), b"/", part.as_bytes()], Len(32))
        .and_then(|okm| okm.fill(&mut out))
        .expect("32 bytes are within what HKDF-SHA256 gives");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(purpose: &str) -> Keyed {
        Keyed::derive(&[7; 32], purpose)
    }

    #[test]
    fn a_sealed_value_opens_only_with_its_key_label_and_bytes() {
        let sealed = key("a").seal(b"row 1", b"secret");
        assert_eq!(key("a").open(b"row 1", &sealed).as_deref(), Some(&b"secret"[..]));
        assert_eq!(key("b").open(b"row 1", &sealed), None);
        assert_eq!(key("a").open(b"row 2", &sealed), None);
        for at in 0..sealed.len() {
            let mut bent = sealed.clone();
            bent[at] ^= 1;
            assert_eq!(key("a").open(b"row 1", &bent), None, "byte {at}");
        }
        assert_eq!(key("a").open(b"row 1", b""), None);
    }

    #[test]
    fn lists_that_concatenate_alike_have_different_macs() {
        assert_ne!(key("a").mac(&[b"ab", b"c"]), key("a").mac(&[b"a", b"bc"]));
        assert_ne!(key("a").mac(&[b"ab"]), key("b").mac(&[b"ab"]));
    }
}
