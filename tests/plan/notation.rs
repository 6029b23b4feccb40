//! The small notation of the cases: words per line, `#` comments, sizes as `4G`. No decisions.

use pve_ferry::model::{SnapshotIdentity, VolumeIdentity};

/// The words of every line that is not empty and no comment.
pub fn lines(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter(|words| !words.is_empty())
        .collect()
}

/// The word after `key` in a line.
pub fn after<'a>(words: &'a [String], key: &str) -> Option<&'a str> {
    let position = words.iter().position(|word| word == key)?;
    words.get(position + 1).map(String::as_str)
}

/// Everything after `key` in a line.
pub fn rest(words: &[String], key: &str) -> Option<String> {
    let position = words.iter().position(|word| word == key)?;
    Some(words[position + 1..].join(" "))
}

/// Whether a word stands in the line.
pub fn has(words: &[String], key: &str) -> bool {
    words.iter().any(|word| word == key)
}

/// `4G`, `512M`, `1T`, or bytes.
pub fn size(text: &str) -> u64 {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        Some(b'T') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    digits.parse::<u64>().unwrap() << shift
}

/// A volume of the memory driver by its number.
pub fn identity(number: &str) -> VolumeIdentity {
    VolumeIdentity::Memory { id: number.parse().unwrap() }
}

/// `NAME#ID` on volume `number`.
pub fn snapshot(number: &str, text: &str) -> SnapshotIdentity {
    let (name, id) = text.split_once('#').expect("NAME#ID");
    SnapshotIdentity { volume: identity(number), snapshot: id.into(), name: name.into() }
}
