//! Content identity: a canonical form and a tagged hash.
//!
//! A digest reads `b3:` followed by 64 hexadecimal digits of BLAKE3. Structured values are hashed in a
//! canonical JSON form (keys sorted, no white space), so that layout and field order do not change them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The tag of every digest this program writes.
const TAG: &str = "b3:";

/// A tagged content hash, such as `b3:9f86d0…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of raw bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::from_hash(blake3::hash(bytes))
    }

    /// The digest of a value in canonical JSON form.
    ///
    /// Numbers keep the representation that `serde_json` gives them; callers hash types with fixed
    /// fields, so equal values have equal digests.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Self {
        Self::of_bytes(canonical(value).as_bytes())
    }

    /// Wraps a finished BLAKE3 hash, for content that is hashed as a stream.
    pub fn from_hash(hash: blake3::Hash) -> Self {
        Self(format!("{TAG}{}", hash.to_hex()))
    }

    /// Takes a digest as it is written in a file or a database.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(TAG)?;
        (hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .then(|| Self(text.to_ascii_lowercase()))
    }

    /// The whole digest with its tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 hexadecimal digits, for display.
    pub fn short(&self) -> &str {
        let hex = self.0.strip_prefix(TAG).unwrap_or(&self.0);
        &hex[..hex.len().min(12)]
    }

    /// A short lower-case identifier (Crockford base 32) made from the first bits of the digest:
    /// `len` characters of five bits each, at most 24.
    pub fn id(&self, len: usize) -> String {
        const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
        let hex = self.0.strip_prefix(TAG).unwrap_or(&self.0);
        let head = hex.get(..32).unwrap_or("");
        let mut bits = u128::from_str_radix(head, 16).unwrap_or(0);
        (0..len.min(24))
            .map(|_| {
                let index = (bits >> 123) as usize;
                bits <<= 5;
                char::from(ALPHABET[index])
            })
            .collect()
    }

    /// The first 32 bits, for seeds that derive from content.
    pub fn seed(&self) -> u32 {
        let hex = self.0.strip_prefix(TAG).unwrap_or(&self.0);
        u32::from_str_radix(hex.get(..8).unwrap_or("0"), 16).unwrap_or(0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Canonical JSON text: object keys sorted at every depth, no white space.
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> String {
    // Serialising plain data to `Value` fails only for maps with non-string keys, which no domain type has.
    let mut value = serde_json::to_value(value).unwrap_or(Value::Null);
    sort_keys(&mut value);
    serde_json::to_string(&value).unwrap_or_default()
}

fn sort_keys(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.sort_keys();
            map.values_mut().for_each(sort_keys);
        }
        Value::Array(items) => items.iter_mut().for_each(sort_keys),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_order_and_layout_do_not_matter() {
        let a: Value = serde_json::from_str(r#"{"b": [1, {"y": 2, "x": 3}], "a": null}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"a":null,"b":[1,{"x":3,"y":2}]}"#).unwrap();
        assert_eq!(Digest::of(&a), Digest::of(&b));
        assert_eq!(canonical(&a), r#"{"a":null,"b":[1,{"x":3,"y":2}]}"#);
    }

    #[test]
    fn digests_parse_back_and_ids_are_short_and_stable() {
        let digest = Digest::of_bytes(b"amend");
        assert_eq!(Digest::parse(digest.as_str()), Some(digest.clone()));
        assert_eq!(Digest::parse("b3:short"), None);
        assert_eq!(digest.id(10).len(), 10);
        assert_eq!(digest.id(10), digest.id(20)[..10]);
        assert_ne!(digest.id(10), Digest::of_bytes(b"emend").id(10));
    }
}
