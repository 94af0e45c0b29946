//! The text of an API key, and its hash.
//!
//! A key is `om_<prefix>_<secret>`. The prefix, 8 hexadecimal digits, names the key in the file, in lists and in logs. The
//! secret is 256 random bits of the operating system.
//!
//! Only a BLAKE3 hash is kept. The slow hashes for passwords (Argon2, bcrypt) make guessing dear where people choose the
//! secret and there is little to guess. Here nobody chooses: 2^256 guesses are out of reach at any speed, so a slow hash
//! would add nothing but its time and memory to every request.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const SCHEME: &str = "om";
const PREFIX_CHARS: usize = 8;
const SECRET_CHARS: usize = 64;

/// The operating system gave no random bits.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bits")]
pub struct NoRandomBits;

/// A new key's text under a new prefix.
///
/// # Errors
/// [`NoRandomBits`].
pub fn generate() -> Result<SecretString, NoRandomBits> {
    let mut prefix = [0; PREFIX_CHARS / 2];
    SystemRandom::new().fill(&mut prefix).map_err(|_| NoRandomBits)?;
    generate_under(&hexadecimal(&prefix))
}

/// A new key's text under the prefix of another.
///
/// # Errors
/// [`NoRandomBits`].
pub fn generate_under(prefix: &str) -> Result<SecretString, NoRandomBits> {
    let mut secret = [0; SECRET_CHARS / 2];
    SystemRandom::new().fill(&mut secret).map_err(|_| NoRandomBits)?;
    Ok(format!("{SCHEME}_{prefix}_{}", hexadecimal(&secret)).into())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The prefix of a key's text; `None` where the text is no key.
#[must_use]
pub fn prefix(key: &SecretString) -> Option<&str> {
    let mut parts = key.expose_secret().split('_');
    let (scheme, prefix, secret, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
    let fits = |part: &str, chars: usize| {
        part.len() == chars && part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    (scheme == SCHEME && fits(prefix, PREFIX_CHARS) && fits(secret, SECRET_CHARS) && rest.is_none()).then_some(prefix)
}

/// The hash of a key. Two are compared in constant time: [`blake3::Hash`] compares in no other way. It is written as
/// hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash(blake3::Hash);

impl KeyHash {
    /// The hash of a key's whole text.
    #[must_use]
    pub fn of(key: &SecretString) -> Self {
        Self(blake3::hash(key.expose_secret().as_bytes()))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_hex())
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        blake3::Hash::from_hex(text).map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_prefix_and_is_like_no_other() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.expose_secret().len(), 3 + PREFIX_CHARS + 1 + SECRET_CHARS);
        let named = prefix(&one).unwrap();
        assert!(one.expose_secret().starts_with(&format!("om_{named}_")));
        assert_ne!(one.expose_secret(), other.expose_secret());
        let renewed = generate_under(named).unwrap();
        assert_eq!(prefix(&renewed), Some(named));
        assert!(KeyHash::of(&one) != KeyHash::of(&renewed) && KeyHash::of(&one) == KeyHash::of(&one.clone()));
    }

    #[test]
    fn what_is_no_key_has_no_prefix() {
        let secret = "0".repeat(SECRET_CHARS);
        assert!(prefix(&format!("om_01234567_{secret}").into()).is_some());
        for bad in [
            String::new(),
            "om".into(),
            "om_01234567".into(),
            format!("om_0123456_{secret}"),
            format!("sk_01234567_{secret}"),
            format!("om_01234567_{secret}0"),
            format!("om_0123456\n_{secret}"),
            format!("om_01234567_{secret}_"),
            format!("om_0123456G_{secret}"),
        ] {
            assert_eq!(prefix(&bad.clone().into()), None, "{bad}");
        }
    }

    /// Comparing is constant in time by construction: the only comparison that a [`KeyHash`] has is that of
    /// [`blake3::Hash`], which is. This fails to compile when the hash becomes bytes.
    #[test]
    fn a_hash_is_compared_in_constant_time_by_construction() {
        fn constant_time(_: &blake3::Hash) {}
        let hash = KeyHash::of(&"om_".into());
        constant_time(&hash.0);
        assert_eq!(format!("{hash:?}"), "KeyHash(…)");
        let text = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<KeyHash>(&text).unwrap(), hash);
    }
}
