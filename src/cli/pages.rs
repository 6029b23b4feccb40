//! `pve-ferry completions SHELL`, and the hidden `man-pages DIR` that the package is built with. Both
//! come from the same definitions as the help, so that they cannot say anything else. The pages of
//! formats and their schemas come from `reference`, and are only written here.

use super::error::CliError;
use super::{job, output, reference};
use anyhow::Context as _;
use clap::CommandFactory as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Print the completions of a shell
///
/// The package installs those of bash, zsh and fish where the shells look for them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry completions bash > /etc/bash_completion.d/pve-ferry
  pve-ferry completions zsh > ~/.zfunc/_pve-ferry")]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum, value_name = "SHELL")]
    shell: clap_complete::Shell,
}

/// Write a man page per command and per format into a directory, and the schemas of all formats
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// The directory, which must exist.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Prints the completions.
///
/// # Errors
/// They are no text, which does not happen.
pub fn completions(args: &CompletionsArgs) -> Result<u8, CliError> {
    let mut text = Vec::new();
    let mut program = offered(&super::Cli::command(), "")?;
    clap_complete::generate(args.shell, &mut program, "pve-ferry", &mut text);
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if args.shell == clap_complete::Shell::Bash {
        // The script sets one name of the program and asks for another: with a hyphen in it, clap_complete
        // 4.6 takes the hyphen for a step to a subcommand in one of the two places, and completes nothing
        // behind a subcommand (clap-rs/clap#6421).
        text = text.replace("pve__subcmd__ferry", "pve__ferry");
    }
    output::line(text.trim_end());
    Ok(0)
}

/// A command with what completions offer of it: nothing that is hidden, all options where the command
/// itself takes free words, and the words of an option that has a choice of them.
fn offered(command: &clap::Command, above: &str) -> Result<clap::Command, CliError> {
    let name = command.get_name().to_owned();
    let full = match above {
        "job" => job::page(&name)?,
        _ => None,
    };
    let command = full.as_ref().unwrap_or(command);
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let mut copy = clap::Command::default()
        .name(name.clone())
        .args(arguments.cloned().map(with_choice))
        .visible_aliases(command.get_visible_aliases().map(str::to_owned).collect::<Vec<_>>());
    if let Some(about) = command.get_about() {
        copy = copy.about(about.clone());
    }
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        copy = copy.subcommand(offered(below, &name)?);
    }
    Ok(copy)
}

/// An option whose value is one of several words says so in its help, as `always|failure|change`. Its
/// parser gives errors of its own for others, so that clap does not know them.
fn with_choice(argument: clap::Arg) -> clap::Arg {
    let Some([name]) = argument.get_value_names() else { return argument };
    let words: Vec<String> = name.split('|').map(str::to_owned).collect();
    let is_plain = |word: &String| word.bytes().all(|b| b.is_ascii_lowercase());
    match words.len() > 1 && words.iter().all(is_plain) {
        true => argument.value_parser(clap::builder::PossibleValuesParser::new(words)),
        false => argument,
    }
}

/// Writes the man pages: pve-ferry.8, pve-ferry-COMMAND.8 of each command, pve-ferry-FORMAT.5 of each
/// format; and below `schema/` the JSON schemas.
///
/// # Errors
/// One cannot be written.
pub fn man(args: &ManArgs) -> Result<u8, CliError> {
    let mut program = super::Cli::command();
    program.build();
    write(&args.directory, &program, "pve-ferry")?;
    write_below(&args.directory, &program, "pve-ferry")?;
    for page in reference::pages() {
        let path = args.directory.join(format!("pve-ferry-{}.5", page.name));
        put(&path, page.man().as_bytes())?;
    }
    let schemas = args.directory.join("schema");
    fs::create_dir_all(&schemas).with_context(|| format!("make {}", schemas.display()))?;
    for format in reference::schemas() {
        let path = schemas.join(format!("{}.json", format.name));
        put(&path, format.text().as_bytes())?;
    }
    Ok(0)
}

fn put(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}

fn write_below(directory: &Path, above: &clap::Command, prefix: &str) -> Result<(), CliError> {
    let shown = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
    for command in above.get_subcommands().filter(shown) {
        let name = format!("{prefix}-{}", command.get_name());
        let full = match prefix {
            "pve-ferry-job" => job::page(command.get_name())?,
            _ => None,
        };
        write(directory, full.as_ref().unwrap_or(command), &name)?;
        write_below(directory, command, &name)?;
    }
    Ok(())
}

fn write(directory: &Path, command: &clap::Command, name: &str) -> anyhow::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone())
        .title(name.to_uppercase())
        .section("8")
        .render(&mut page)?;
    let path = directory.join(format!("{name}.8"));
    put(&path, &page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_the_help_shows_has_a_page_and_hidden_ones_have_none() {
        let directory = tempfile::tempdir().unwrap();
        man(&ManArgs { directory: directory.path().to_owned() }).unwrap();
        let page = |name: &str| fs::read_to_string(directory.path().join(name));
        assert!(page("pve-ferry.8").unwrap().contains("repository missing"));
        assert!(page("pve-ferry-restore.8").unwrap().contains("Examples:"));
        assert!(page("pve-ferry-ask-ceph.8").is_err());
        assert!(page("pve-ferry-jobs.cfg.5").unwrap().contains("schedule"));
        assert!(page("pve-ferry-notify.cfg.5").unwrap().contains("starttls"));
        assert!(page("schema/list.json").unwrap().contains("restore_points"));
        for (word, more) in [("create", "--operation prune"), ("set", "of another operation")] {
            let text = page(&format!("pve-ferry-job-{word}.8")).unwrap().replace('\\', "");
            let more = more.replace("--operation prune", "--operation prune|verify");
            for part in ["--schedule", "--keep", "--delete", "pve-ferry-snapshot-create(8)", &more]
            {
                assert!(text.contains(part), "{part} in {text}");
            }
            assert!(!text.contains("WORDS"), "{text}");
        }
        for command in super::super::Cli::command().get_subcommands() {
            let name = format!("pve-ferry-{}.8", command.get_name());
            assert_eq!(page(&name).is_ok(), !command.is_hide_set(), "{name}");
        }
        let gone = ManArgs { directory: directory.path().join("gone") };
        assert!(man(&gone).is_err());
    }
}
