//! Opaque, tamper-evident cursors: the position, and a keyed digest that binds it to the list
//! and to every filter, so that a cursor can be neither forged nor moved to another list.

use serde::{Serialize, de::DeserializeOwned};

use super::crypto::{self, Keyed};
use crate::error::{Code, Error, Result};

const MAC_LEN: usize = 16;

pub struct CursorKey(Keyed);

impl CursorKey {
    pub fn derive(master: &[u8; 32]) -> Self {
        Self(Keyed::derive(master, "cursor"))
    }

    /// `scope` names the list and its filters.
    pub fn encode(&self, scope: &str, position: &impl Serialize) -> Result<String> {
        let body = serde_json::to_vec(position).map_err(Error::internal)?;
        let mac = self.0.mac(&[scope.as_bytes(), &body]);
        Ok(crypto::to_base64url(&[&mac[..MAC_LEN], &body].concat()))
    }

    pub fn decode<T: DeserializeOwned>(&self, scope: &str, cursor: &str) -> Result<T> {
        self.try_decode(scope, cursor)
            .ok_or_else(|| Error::new(Code::MalformedRequest, "the cursor is not one of this list"))
    }

    fn try_decode<T: DeserializeOwned>(&self, scope: &str, cursor: &str) -> Option<T> {
        let bytes = crypto::from_base64url(cursor)?;
        let (mac, body) = bytes.split_at_checked(MAC_LEN)?;
        let expected = self.0.mac(&[scope.as_bytes(), body]);
        if !crypto::equal(mac, &expected[..MAC_LEN]) {
            return None;
        }
        serde_json::from_slice(body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_only_unchanged_and_to_its_own_list() {
        let key = CursorKey::derive(&[1; 32]);
        let cursor = key.encode("users?role=staff", &42_u64).unwrap();
        assert_eq!(key.decode::<u64>("users?role=staff", &cursor).unwrap(), 42);
        assert!(key.decode::<u64>("users?role=admin", &cursor).is_err());
        assert!(CursorKey::derive(&[2; 32]).decode::<u64>("users?role=staff", &cursor).is_err());
        for at in 0..cursor.len() {
            let mut bent = cursor.clone().into_bytes();
            bent[at] = if bent[at] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bent).unwrap();
            assert!(key.decode::<u64>("users?role=staff", &bent).is_err(), "byte {at}");
        }
        assert!(key.decode::<u64>("users?role=staff", "").is_err());
    }
}
