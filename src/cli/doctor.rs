//! `pve-ferry doctor`: whether what is needed is there, and the commands that bring it. Changes
//! nothing.

use super::connection::Connection;
use super::error::CliError;
use super::{blocking, output};
use crate::pve::api::{Missing, privilege_commands};
use clap::ValueEnum;

/// Say whether the privileges in use suffice, and print the commands that grant them
///
/// Without --host it prints the commands only: on a node everything runs as root.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pve-ferry doctor --role snapshot
  pve-ferry doctor --role snapshot --host pve1 --api-token file:/root/token")]
pub struct Args {
    /// What the privileges are for.
    #[arg(long, value_name = "ROLE")]
    role: Role,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// `pve-ferry snapshot`.
    Snapshot,
}

/// Runs the command.
///
/// # Errors
/// The cluster cannot be reached, or the words make no sense.
pub fn run(args: &Args) -> Result<u8, CliError> {
    let Role::Snapshot = args.role;
    let missing = match args.connection.is_remote() {
        true => {
            let api = args.connection.api()?;
            let asked = async { Ok(api.missing_privileges().await?) };
            Some(blocking(asked)?)
        }
        false => None,
    };
    let code = match missing.as_deref() {
        Some([]) => {
            output::line("these credentials suffice for snapshots of all guests");
            return Ok(0);
        }
        Some(missing) => {
            missing.iter().for_each(|missing| output::line(&line(missing)));
            output::line(
                "It may be granted on single guests or pools only; then this is as it should be.",
            );
            1
        }
        None => 0,
    };
    output::line("# As root on a node; the last command prints the token's secret once:");
    output::text(&privilege_commands());
    Ok(code)
}

fn line(missing: &Missing) -> String {
    format!("missing on {}: {} ({})", missing.path, missing.privilege, missing.why)
}
