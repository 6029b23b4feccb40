//! `@FILE` on the command line: the words of that file take its place. No option is known here.

use super::error::CliError;
use crate::job::words::words_of_file;
use std::ffi::OsString;
use std::path::Path;

/// Files may name files; a file that names itself must not run for ever.
const DEPTH: usize = 8;

/// Replaces every `@FILE` by the words of the file: newlines are spaces, quotes group, lines that
/// begin with `#` are comments. Selections such as `@all` and `@pool-x` belong to `--vmid` and
/// stay as they are.
///
/// # Errors
/// A file cannot be read, has an open quote, or nests too deeply.
pub fn expanded(arguments: Vec<OsString>) -> Result<Vec<OsString>, CliError> {
    let mut words = Vec::new();
    for argument in arguments {
        expand_into(&mut words, argument, 0)?;
    }
    Ok(words)
}

fn expand_into(words: &mut Vec<OsString>, word: OsString, depth: usize) -> Result<(), CliError> {
    let is_value = words.last().is_some_and(|last| last == "--vmid");
    let file = word.to_str().and_then(|text| text.strip_prefix('@')).map(str::to_owned);
    let Some(file) = file.filter(|file| !file.is_empty() && !is_value) else {
        words.push(word);
        return Ok(());
    };
    if depth == DEPTH {
        return Err(CliError::usage(format!("@{file} nests more than {DEPTH} files deep")));
    }
    let text = std::fs::read_to_string(Path::new(&file))
        .map_err(|e| CliError::usage(format!("cannot read the arguments in {file}: {e}")))?;
    let found = words_of_file(&text)
        .ok_or_else(|| CliError::usage(format!("a quote in {file} is not closed")))?;
    for word in found {
        expand_into(words, word.into(), depth + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_take_the_place_of_their_names() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        let outer = dir.path().join("outer");
        std::fs::write(&inner, "--path '/mnt/a b'\n# a comment\n").unwrap();
        std::fs::write(&outer, format!("--label daily\n@{}\n", inner.display())).unwrap();
        let words = ["x", "--vmid", "@all", &format!("@{}", outer.display())].map(OsString::from);
        let expected = ["x", "--vmid", "@all", "--label", "daily", "--path", "/mnt/a b"];
        assert_eq!(expanded(words.to_vec()).unwrap(), expected.map(OsString::from));
    }

    #[test]
    fn what_cannot_be_read_is_a_usage_error() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        let own = dir.path().join("own");
        std::fs::write(&open, "--label 'daily").unwrap();
        std::fs::write(&own, format!("@{}", own.display())).unwrap();
        for file in [&dir.path().join("none"), &open, &own] {
            let error = expanded(vec![format!("@{}", file.display()).into()]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{}", file.display());
        }
    }
}
