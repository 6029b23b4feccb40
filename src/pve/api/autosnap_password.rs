//! Password files as cv4pve-autosnap writes them, which are read and never written. Their key is
//! public, so that the file hides nothing from anybody: plain files with mode 0600 are as good.
//!
//! `v2:`, then the base64 of an initialisation vector of eight bytes with 3DES-CBC behind it, padded
//! as PKCS#7 does. Still older files have no mark: the base64 of 3DES-ECB with the same key and
//! padding. What decrypts to a printable text is one of those; a plain password does so by chance
//! once in more than a million times, and only if it has the form of base64.

use cbc::cipher::block_padding::{NoPadding, Pkcs7};
use cbc::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use des::TdesEde3;

/// The constant key of that tool.
const KEY: &[u8; 24] = b"012345678901234567890123";

/// The cipher works on so many bytes at once.
const BLOCK: usize = 8;

/// A file that holds no password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFileError {
    /// It begins like one of autosnap's and is none.
    #[error("the password file begins with v2: as cv4pve-autosnap's do, but cannot be decrypted")]
    Damaged,
    /// It is neither of the two kinds.
    #[error(
        "the password file holds neither a password in its first line nor what cv4pve-autosnap writes"
    )]
    Neither,
}

/// The password in a file's text: decrypted, or its first line as it is.
///
/// # Errors
/// It is one of autosnap's and damaged, or no text at all.
pub fn password_in(text: &str) -> Result<String, PasswordFileError> {
    let line = text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default().trim_end();
    if let Some(coded) = line.strip_prefix("v2:") {
        return decrypted(coded).ok_or(PasswordFileError::Damaged);
    }
    if let Some(password) = decrypted_of_old(line) {
        return Ok(password);
    }
    if line.is_empty() || line.chars().any(char::is_control) {
        return Err(PasswordFileError::Neither);
    }
    Ok(line.to_owned())
}

fn decrypted(coded: &str) -> Option<String> {
    let bytes = base64(coded.trim())?;
    let (vector, coded) = bytes.split_at_checked(BLOCK)?;
    let cipher = cbc::Decryptor::<TdesEde3>::new_from_slices(KEY, vector).ok()?;
    let mut text = coded.to_vec();
    let length = cipher.decrypt_padded::<Pkcs7>(&mut text).ok()?.len();
    text.truncate(length);
    String::from_utf8(text).ok()
}

/// ECB is CBC with each block alone and no vector.
fn decrypted_of_old(coded: &str) -> Option<String> {
    let mut text = base64(coded)?;
    if text.is_empty() || text.len() % BLOCK != 0 {
        return None;
    }
    for block in text.chunks_mut(BLOCK) {
        let cipher = cbc::Decryptor::<TdesEde3>::new_from_slices(KEY, &[0; BLOCK]).ok()?;
        cipher.decrypt_padded::<NoPadding>(block).ok()?;
    }
    let pad = usize::from(*text.last()?);
    let (head, tail) = text.split_at_checked(text.len().checked_sub(pad)?)?;
    let is_padded = (1..=BLOCK).contains(&pad) && tail.iter().all(|b| usize::from(*b) == pad);
    let password = String::from_utf8(head.to_vec()).ok()?;
    let is_text = !password.is_empty() && !password.chars().any(char::is_control);
    (is_padded && is_text).then_some(password)
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

    const OLD: [(&str, &str); 4] = [
        ("63gNcpTNA6U=", "s3cret"),
        ("ncCupsT3ubovaZefwnq/sg==\n", "päss wörd"),
        ("\u{feff}JHkgWn5or6kghB7oq65OZQ==\r\n", "12345678"),
        (
            "vdLVxo4vFOkLsVqEjLVv9a4lZeVPKcjxn1MhC6OIDWOoRFZBNrzSew==",
            "a much longer password than a block",
        ),
    ];

    #[test]
    fn its_oldest_files_have_no_mark() {
        // Made with: printf PASSWORD | openssl enc -des-ede3 -K (that key in hexadecimal) -a.
        for (coded, password) in OLD {
            assert_eq!(password_in(coded).as_deref(), Ok(password), "{coded}");
        }
        // Plain ones that look alike stay what they are.
        for plain in ["YWJjZGVmZ2g=", "abcdefghijklmnopqrstuvwxyz012345", "AAAAAAAAAAA="] {
            assert_eq!(password_in(plain).as_deref(), Ok(plain));
        }
        for neither in ["", "\n", "\u{1}\u{2}binary", "a\tb"] {
            assert_eq!(password_in(neither), Err(PasswordFileError::Neither), "{neither:?}");
        }
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
