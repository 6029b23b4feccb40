//! Texts that are compared whole, without what differs from run to run. Runs nothing.

use std::path::Path;

/// What differs: `#` stands for a digit, `x` and `X` for a hexadecimal one. Longer forms come first.
const DIFFER: [(&str, &str); 13] = [
    ("xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", "UUID"),
    ("BC:24:11:XX:XX:XX", "ADDRESS"),
    ("####-##-##T##:##:##Z", "TIME"),
    ("########T######Z", "STAMP"),
    ("xxxxxxxxxxxxxxxx", "ID"),
    ("xxxxxxxx", "HEX"),
    ("##.# s", "N s"),
    ("#.# s", "N s"),
    ("### s", "N s"),
    ("## s", "N s"),
    ("# s", "N s"),
    // How well names of snapshots compress differs, too.
    ("points, #.## KiB", "points, N KiB"),
    ("### B", "N B"),
];

/// A text without what differs from run to run.
pub fn redacted(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = result.chars().last().is_some_and(|c| c.is_ascii_alphanumeric());
        let found = DIFFER.iter().find(|(pattern, _)| !after_word && begins(rest, pattern));
        match found {
            Some((pattern, name)) => {
                result.push_str(name);
                rest = &rest[pattern.len()..];
            }
            None => {
                result.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    result
}

fn begins(text: &str, pattern: &str) -> bool {
    let fits = |(want, found): (char, char)| match want {
        '#' => found.is_ascii_digit(),
        'x' => found.is_ascii_digit() || ('a'..='f').contains(&found),
        'X' => found.is_ascii_digit() || ('A'..='F').contains(&found),
        want => want == found,
    };
    let ends = text.chars().nth(pattern.len()).is_none_or(|c| !c.is_ascii_alphanumeric());
    text.len() >= pattern.len() && ends && pattern.chars().zip(text.chars()).all(fits)
}

/// Compares with the golden file; `UPDATE_GOLDEN=1` writes it: read the difference.
pub fn compare(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{}", path.display());
}

#[test]
fn only_what_differs_is_left_out() {
    let text =
        "ferry.0a1b2c3d.daily.20260101T000000Z 2026-01-01T00:00:00Z cafe 262144 0.3 s, 12 s, 106 B";
    assert_eq!(redacted(text), "ferry.HEX.daily.STAMP TIME cafe 262144 N s, N s, N B");
}
