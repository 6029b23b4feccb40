//! The command line: what was typed becomes requests, what came of them becomes text and an exit
//! code. One file per command; `output.rs` is the only one that prints.

mod adopt;
mod agree;
mod around;
mod ask;
mod ask_ceph;
mod assemble;
mod backup;
mod barc;
mod bars;
mod connection;
mod context;
mod copy;
mod doctor;
mod document;
mod end;
mod error;
mod expand;
mod hooks;
mod job;
mod list;
mod mark;
mod options;
mod output;
mod pages;
mod prune;
mod reference;
mod repair;
mod report;
mod reset;
mod restore;
mod retention;
mod show;
mod signals;
mod snapshot;
mod snapshot_list;
mod snapshot_rollback;
mod snapshot_table;
mod snapshot_work;
mod source;
mod status;
mod table;
mod told;
mod verified;
mod verify;
mod who;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use end::CommandResult;
use error::CliError;
use options::Logging;
use std::ffi::OsString;
use std::process::ExitCode;

const EXIT_CODES: &str = "\
Exit codes:
  0    done, also with disks that the configuration leaves out
  1    failed
  2    usage or configuration
  3    some guests or volumes that should have been done were not
  4    nothing selected
  10   repository missing
  11   locked by another run of pve-ferry
  12   damage was found
  13   conflict that needs a decision
  130  interrupted";

/// Incremental backup and restore of Proxmox VE guests on Ceph RBD.
///
/// Guests go into a plain directory and come back from it bit-identical, with or without this
/// program: every guest's directory holds a RESTORE.txt that says how.
#[derive(Debug, Parser)]
#[command(name = "pve-ferry", version, propagate_version = true, after_long_help = EXIT_CODES)]
#[command(arg_required_else_help = true, disable_help_subcommand = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logging: Logging,
}

#[derive(Debug, Subcommand)]
enum Command {
    Backup(backup::Args),
    Restore(restore::Args),
    Assemble(assemble::Args),
    List(list::Args),
    Verify(verify::Args),
    Repair(repair::Args),
    Prune(prune::Args),
    Copy(copy::Args),
    Delete(mark::DeleteArgs),
    Protect(mark::ProtectArgs),
    Unprotect(mark::UnprotectArgs),
    Reset(reset::Args),
    Adopt(adopt::Args),
    Show(show::Args),
    Snapshot(snapshot::Args),
    Doctor(doctor::Args),
    Completions(pages::CompletionsArgs),
    #[command(hide = true)]
    AskCeph(ask_ceph::Args),
    #[command(hide = true)]
    ManPages(pages::ManArgs),
    Job(job::Args),
    Status(status::Args),
    /// Print the version.
    Version,
}

/// Runs the command line and says how it ended.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let words = expanded(arguments.collect());
    let as_autosnap = words.as_ref().is_ok_and(|words| snapshot::is_autosnap(words));
    let end = match words.and_then(parsed) {
        Ok(cli) => run(&cli),
        Err(error) => Err(error.into()),
    };
    let code = match end {
        Ok(end) => end.code,
        Err(end) => {
            output::error(&end.error);
            end.error.exit_code()
        }
    };
    let code = if as_autosnap { code.min(1) } else { code };
    ExitCode::from(code)
}

fn expanded(words: Vec<OsString>) -> Result<Vec<OsString>, CliError> {
    connection::refuse_typed_secrets(&words)?;
    expand::expanded(words)
}

fn parsed(words: Vec<OsString>) -> Result<Cli, CliError> {
    let matches = Cli::command().try_get_matches_from(words)?;
    Ok(Cli::from_arg_matches(&matches)?)
}

fn run(cli: &Cli) -> CommandResult {
    output::start_logging(&cli.logging);
    match &cli.command {
        Command::Backup(args) => backup::run(args, &cli.logging),
        Command::Restore(args) => restore::run(args, &cli.logging),
        Command::Assemble(args) => assemble::run(args, &cli.logging),
        Command::List(args) => without_report(list::run(args)),
        Command::Verify(args) => verify::run(args, &cli.logging),
        Command::Repair(args) => repair::run(args, &cli.logging),
        Command::Prune(args) => prune::run(args, &cli.logging),
        Command::Copy(args) => copy::run(args, &cli.logging),
        Command::Delete(args) => mark::delete(args, &cli.logging),
        Command::Protect(args) => mark::protect(args),
        Command::Unprotect(args) => mark::unprotect(args),
        Command::Adopt(args) => adopt::run(args, &cli.logging),
        Command::Reset(args) => reset::run(args, &cli.logging),
        Command::Show(args) => without_report(show::run(args)),
        Command::Snapshot(args) => snapshot::run(args, &cli.logging),
        Command::Doctor(args) => without_report(doctor::run(args)),
        Command::Completions(args) => without_report(pages::completions(args)),
        Command::AskCeph(args) => without_report(ask_ceph::run(args)),
        Command::ManPages(args) => without_report(pages::man(args)),
        Command::Job(args) => without_report(job::run(args, &cli.logging)),
        Command::Status(args) => without_report(status::run(args)),
        Command::Version => {
            output::line(&format!("pve-ferry {}", env!("CARGO_PKG_VERSION")));
            without_report(Ok(0))
        }
    }
}

/// The end of a command that does nothing to guests or restore points by itself.
fn without_report(code: Result<u8, CliError>) -> CommandResult {
    Ok(code?.into())
}

/// Starts the machinery that runs processes and waits for them.
fn blocking<T>(work: impl Future<Output = anyhow::Result<T>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::from(anyhow::Error::from(e)))?;
    let done = runtime.block_on(work);
    // Threads that hang in a file system that does not answer are not waited for: the report says so.
    runtime.shutdown_background();
    Ok(done?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn copy_names_both_ends() {
        let cli = Cli::command();
        let copy = cli.find_subcommand("copy").unwrap();
        for name in ["from", "to"] {
            assert!(
                copy.get_arguments().any(|a| a.get_long() == Some(name) && a.is_required_set())
            );
        }
    }

    #[test]
    fn common_options_mean_the_same_everywhere() {
        for command in [
            "backup",
            "restore",
            "assemble",
            "list",
            "verify",
            "repair",
            "prune",
            "delete",
            "protect",
            "unprotect",
            "reset",
            "adopt",
        ] {
            let cli = Cli::command();
            let sub = cli.find_subcommand(command).unwrap();
            assert!(sub.get_arguments().any(|a| a.get_long() == Some("path")), "{command}");
        }
    }
}
