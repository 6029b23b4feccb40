//! Makes a report fit to leave the machine: no control characters or colours of terminals, and
//! no secret that an error text may have picked up. Not for escaping: each rendering does its own.

use crate::report::Report;
use crate::secret::Secret;

/// The report without control characters and without the secrets.
pub fn clean(report: &Report, secrets: &[Secret]) -> Report {
    let fit = |text: &str| without_secrets(&plain(text), secrets);
    let mut clean = report.clone();
    for guest in &mut clean.guests {
        guest.name = fit(&guest.name);
        guest.error = guest.error.as_deref().map(fit);
        guest.warnings = guest.warnings.iter().map(|text| fit(text)).collect();
        guest.not_whole = guest.not_whole.iter().map(|text| fit(text)).collect();
        guest.not_removed = guest.not_removed.iter().map(|text| fit(text)).collect();
        guest.changes = guest.changes.iter().map(|text| fit(text)).collect();
        for skipped in &mut guest.skipped {
            skipped.reason = fit(&skipped.reason);
        }
    }
    clean.error = clean.error.as_deref().map(fit);
    clean.warnings = clean.warnings.iter().map(|text| fit(text)).collect();
    clean.not_found = clean.not_found.iter().map(|text| fit(text)).collect();
    clean
}

/// The text without escape sequences (ECMA-48) and other control characters but line ends.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => skip_sequence(&mut rest),
            '\u{9b}' => skip_parameters(&mut rest),
            '\u{9d}' => skip_text(&mut rest),
            '\n' => plain.push('\n'),
            '\t' => plain.push(' '),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

/// What follows an escape: `[` parameters and a final letter, `]` up to its end, or one character.
fn skip_sequence(rest: &mut std::iter::Peekable<std::str::Chars>) {
    match rest.next() {
        Some('[') => skip_parameters(rest),
        Some(']') => skip_text(rest),
        _ => {}
    }
}

fn skip_parameters(rest: &mut std::iter::Peekable<std::str::Chars>) {
    while rest.next_if(|c| !('\u{40}'..='\u{7e}').contains(c) && *c != '\n').is_some() {}
    rest.next_if(|c| *c != '\n');
}

fn skip_text(rest: &mut std::iter::Peekable<std::str::Chars>) {
    while rest.next_if(|c| !matches!(c, '\u{7}' | '\u{1b}' | '\u{9c}' | '\n')).is_some() {}
}

/// Short texts are no secrets that could be told from words.
fn without_secrets(text: &str, secrets: &[Secret]) -> String {
    let told = |secret: &&Secret| secret.reveal().len() >= 4;
    secrets
        .iter()
        .filter(told)
        .fold(text.to_owned(), |text, secret| text.replace(secret.reveal(), "***"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_and_secrets_leave_no_trace() {
        let text = "\u{1b}[1;31mred\u{1b}[0m a\tb\r\n\u{1b}]0;title\u{7}c\u{8}ä";
        assert_eq!(plain(text), "red a b\ncä");
        assert_eq!(plain("broken \u{1b}[31"), "broken ");
        assert_eq!(plain("\u{9b}31mred\u{9d}0;title\u{9c}c\u{7f}"), "redc");
        let secrets = [Secret::new("hunter22"), Secret::new("a")];
        assert_eq!(without_secrets("http://x:hunter22@a", &secrets), "http://x:***@a");
    }
}
