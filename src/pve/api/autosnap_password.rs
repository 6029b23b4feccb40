//! Password files as cv4pve-autosnap writes them, which are read and never written. Their key is
//! public, so that the file hides nothing from anybody: plain files with mode 0600 are as good.
//!
//! `v2:`, then the base64 of an initialisation vector of eight bytes with 3DES-CBC behind it, padded
//! as PKCS#7 does. Still older files have no mark and cannot be told from a plain password.

use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use des::TdesEde3;

/// The constant key of that tool.
const KEY: &[u8; 24] = b"012345678901234567890123";

/// A file that begins like one of autosnap's and is none.
#[derive(Debug, thiserror::Error)]
#[error("the password file begins with v2: as cv4pve-autosnap's do, but cannot be decrypted")]
pub struct PasswordFileError;

/// The password in a file's text: decrypted, or its first line as it is.
///
/// # Errors
/// It is one of autosnap's and damaged.
pub fn password_in(text: &str) -> Result<String, PasswordFileError> {
    let line = text.lines().next().unwrap_or_default().trim_end();
    match line.strip_prefix("v2:") {
        Some(coded) => decrypted(coded).ok_or(PasswordFileError),
        None => Ok(line.to_owned()),
    }
}

fn decrypted(coded: &str) -> Option<String> {
    let bytes = base64(coded.trim())?;
    let (vector, coded) = bytes.split_at_checked(8)?;
    let cipher = cbc::Decryptor::<TdesEde3>::new_from_slices(KEY, vector).ok()?;
    let mut text = coded.to_vec();
    let length = cipher.decrypt_padded::<Pkcs7>(&mut text).ok()?.len();
    text.truncate(length);
    String::from_utf8(text).ok()
}

/// The bytes of a base64 text with its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => Some(u32::from(b - b'A')),
        b'a'..=b'z' => Some(u32::from(b - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(b - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits = text.trim_end_matches('=').as_bytes();
    if text.len() % 4 != 0 || text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::new();
    for group in digits.chunks(4) {
        let mut bits = 0;
        for &digit in group {
            bits = bits << 6 | value(digit)?;
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_file_is_its_first_line() {
        assert_eq!(password_in("s3cret\nmore\n").unwrap(), "s3cret");
    }

    #[test]
    fn a_file_of_autosnap_is_decrypted_and_a_damaged_one_is_an_error() {
        // Made with: printf s3cret | openssl enc -des-ede3-cbc (that key, vector 0102030405060708).
        assert_eq!(password_in("v2:AQIDBAUGBwj/+T919oN2wA==\n").unwrap(), "s3cret");
        for text in ["v2:", "v2:AAAA", "v2:!!!!", "v2:AQIDBAUGBwgAAAAAAAAAAA=="] {
            assert!(password_in(text).is_err(), "{text}");
        }
    }
}
