//! A value as it lies in Redis, where anybody may have written: with all that is needed to tell
//! whether it is ours, whole, of this key and of this release.

use std::str;

use bytes::Bytes;

use super::{Family, Rendered};

const MAGIC: [u8; 4] = *b"MSc1";
/// Magic, checksum, schema, as_of, length of the label.
const HEAD: usize = 4 + 4 + 4 + 8 + 4;

#[derive(Debug)]
pub struct Found {
    pub value: Rendered,
    pub as_of: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Corrupt,
    OtherSchema,
}

pub fn seal(family: &Family, key: &str, as_of: i64, value: &Rendered) -> Vec<u8> {
    let label = value.label.as_bytes();
    let mut text = Vec::with_capacity(HEAD + label.len() + value.body.len());
    text.extend(MAGIC);
    text.extend([0; 4]);
    text.extend(family.schema.to_be_bytes());
    text.extend(as_of.to_be_bytes());
    text.extend((label.len() as u32).to_be_bytes());
    text.extend(label);
    text.extend(&value.body);
    let sum = checksum(key, &text[8..]);
    text[4..8].copy_from_slice(&sum);
    text
}

pub fn open(family: &Family, key: &str, text: Bytes) -> Result<Found, Refusal> {
    let (head, rest) = text.split_first_chunk::<HEAD>().ok_or(Refusal::Corrupt)?;
    if head[..4] != MAGIC || head[4..8] != checksum(key, &text[8..]) {
        return Err(Refusal::Corrupt);
    }
    if head[8..12] != family.schema.to_be_bytes() {
        return Err(Refusal::OtherSchema);
    }
    let [as_of @ .., _, _, _, _] = head.last_chunk::<12>().ok_or(Refusal::Corrupt)?;
    let length = head.last_chunk::<4>().map(|length| u32::from_be_bytes(*length) as usize);
    let length = length.filter(|length| *length <= rest.len()).ok_or(Refusal::Corrupt)?;
    let label = str::from_utf8(&rest[..length]).map_err(|_| Refusal::Corrupt)?.to_owned();
    let value = Rendered { label, body: text.slice(HEAD + length..) };
    Ok(Found { value, as_of: i64::from_be_bytes(*as_of) })
}

/// Over the key as well: a value under another key is not taken.
fn checksum(key: &str, text: &[u8]) -> [u8; 4] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(key.as_bytes());
    sum.update(text);
    sum.finalize().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::cache::Sharing;

    static FAMILY: Family = Family::new("thing", 3, Sharing::Always);

    fn sealed() -> Vec<u8> {
        let value = Rendered { label: "1.2".into(), body: Bytes::from_static(b"{\"a\":1}") };
        seal(&FAMILY, "thing:1", 77, &value)
    }

    fn refusal(key: &str, text: Vec<u8>) -> Option<Refusal> {
        open(&FAMILY, key, text.into()).err()
    }

    #[test]
    fn what_was_sealed_is_found_again() {
        let found = open(&FAMILY, "thing:1", sealed().into()).expect("whole");
        assert_eq!((found.value.label.as_str(), &*found.value.body), ("1.2", &b"{\"a\":1}"[..]));
        assert_eq!(found.as_of, 77);
    }

    #[test]
    fn every_single_flipped_bit_every_cut_and_every_addition_is_noticed() {
        let whole = sealed();
        for bit in 0..8 * whole.len() {
            let mut text = whole.clone();
            text[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(refusal("thing:1", text), Some(Refusal::Corrupt), "bit {bit}");
        }
        for length in 0..whole.len() {
            assert_eq!(refusal("thing:1", whole[..length].to_vec()), Some(Refusal::Corrupt));
        }
        assert_eq!(refusal("thing:1", [whole, vec![0]].concat()), Some(Refusal::Corrupt));
    }

    #[test]
    fn a_value_of_another_key_or_schema_is_not_taken() {
        assert_eq!(refusal("thing:2", sealed()), Some(Refusal::Corrupt));
        let next = Family::new("thing", 4, Sharing::Always);
        let refused = open(&next, "thing:1", sealed().into()).err();
        assert_eq!(refused, Some(Refusal::OtherSchema));
    }
}
