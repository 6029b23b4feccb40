//! Words of a command line in a text: split as a shell splits them, joined so that a shell splits
//! them again. Not for running anything: lines of other tools' crontabs are read, ours are shown.

/// Why a text has no words that we could stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WordsError {
    /// A quote is not closed.
    #[error("a quote is not closed")]
    OpenQuote,
    /// What the words are only the shell knows.
    #[error("it uses a variable or a command substitution of the shell")]
    Expansion,
}

/// A command found in a line of shell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// The commands that the line consists of, each as its words, without redirections.
    pub commands: Vec<Vec<String>>,
    /// The files of redirections.
    pub redirections: Vec<String>,
}

/// Splits a line into commands and their words.
///
/// # Errors
/// A quote is open, or a word depends on the shell's state.
pub fn split(line: &str) -> Result<Split, WordsError> {
    let mut splitter = Splitter::default();
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => splitter.add(&until_quote(&mut chars)?),
            '"' => splitter.add(&until_double_quote(&mut chars)?),
            '\\' => splitter.add(&chars.next().map(String::from).unwrap_or_default()),
            '$' | '`' => return Err(WordsError::Expansion),
            '#' if splitter.word.is_none() => break,
            c if c.is_whitespace() => splitter.end_word(),
            '>' | '<' => splitter.redirect(),
            // In `2>&1` the sign belongs to the redirection.
            '&' if splitter.redirected && splitter.word.is_none() => {}
            '|' | ';' | '&' => splitter.end_command(),
            c => splitter.add(c.encode_utf8(&mut [0; 4])),
        }
    }
    splitter.end_command();
    Ok(Split { commands: splitter.commands, redirections: splitter.redirections })
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn until_quote(chars: &mut Chars<'_>) -> Result<String, WordsError> {
    let mut text = String::new();
    for c in chars {
        if c == '\'' {
            return Ok(text);
        }
        text.push(c);
    }
    Err(WordsError::OpenQuote)
}

fn until_double_quote(chars: &mut Chars<'_>) -> Result<String, WordsError> {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(text),
            '$' | '`' => return Err(WordsError::Expansion),
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => text.push(escaped),
                Some(other) => text.extend(['\\', other]),
                None => return Err(WordsError::OpenQuote),
            },
            c => text.push(c),
        }
    }
    Err(WordsError::OpenQuote)
}

#[derive(Default)]
struct Splitter {
    commands: Vec<Vec<String>>,
    command: Vec<String>,
    word: Option<String>,
    redirections: Vec<String>,
    /// The next word is the file of a redirection.
    redirected: bool,
}

impl Splitter {
    fn add(&mut self, text: &str) {
        self.word.get_or_insert_default().push_str(text);
    }

    fn end_word(&mut self) {
        let Some(word) = self.word.take() else { return };
        if !std::mem::take(&mut self.redirected) {
            self.command.push(word);
        } else if !word.bytes().all(|b| b.is_ascii_digit()) {
            // In `2>&1` it is no file.
            self.redirections.push(word);
        }
    }

    fn redirect(&mut self) {
        // A number right before the sign says what is redirected, and is no word.
        if self.word.as_ref().is_some_and(|word| word.bytes().all(|b| b.is_ascii_digit())) {
            self.word = None;
        }
        self.end_word();
        self.redirected = true;
    }

    fn end_command(&mut self) {
        self.end_word();
        self.redirected = false;
        if !self.command.is_empty() {
            self.commands.push(std::mem::take(&mut self.command));
        }
    }
}

/// The words of an argument file: newlines are spaces, quotes group, lines that begin with `#` are
/// comments. `None` when a quote stays open.
pub fn words_of_file(text: &str) -> Option<Vec<String>> {
    let is_comment = |line: &str| line.trim_start().starts_with('#');
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for line in text.lines() {
        if quote.is_none() && is_comment(line) {
            continue;
        }
        for c in line.chars().chain(['\n']) {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (Some(_), c) => word.get_or_insert_default().push(c),
                (None, '"' | '\'') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, c) if c.is_whitespace() => words.extend(word.take()),
                (None, c) => word.get_or_insert_default().push(c),
            }
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// Joins words into a line that a shell splits into the same words.
pub fn joined(words: &[String]) -> String {
    words.iter().map(|word| one(word)).collect::<Vec<_>>().join(" ")
}

fn one(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(line: &str) -> Vec<Vec<String>> {
        split(line).unwrap().commands
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(
            commands(r#"a 'b c' "d \" e" f\ g h"i"'j' '' # k"#),
            [["a", "b c", "d \" e", "f g", "hij", ""]]
        );
        assert_eq!(
            commands("cd /opt/x && ./y --a=1 >/dev/null 2>&1; z | w"),
            [vec!["cd", "/opt/x"], vec!["./y", "--a=1"], vec!["z"], vec!["w"]]
        );
        assert_eq!(commands("a >> 'the log' b"), [["a", "b"]]);
        assert_eq!(commands("a &> log"), [vec!["a"]]);
        let files = |line: &str| split(line).unwrap().redirections;
        assert_eq!(files("a >/dev/null 2>&1; b >> 'the log'"), ["/dev/null", "the log"]);
        assert_eq!(files("a --b=1"), [""; 0]);
        assert_eq!(commands("  "), [[""; 0]; 0]);
    }

    #[test]
    fn what_only_the_shell_knows_is_refused() {
        assert_eq!(split("a 'b"), Err(WordsError::OpenQuote));
        assert_eq!(split("a \"b"), Err(WordsError::OpenQuote));
        assert_eq!(split("a $B"), Err(WordsError::Expansion));
        assert_eq!(split("a \"`date`\""), Err(WordsError::Expansion));
        assert_eq!(commands("a '$B'"), [["a", "$B"]]);
    }
}
