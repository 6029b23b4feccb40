//! `pve-ferry ask-ceph`, hidden: our own child, which asks a cluster for its id and free space. Not
//! for people: `ceph fsid` and `ceph df` say the same.

use super::error::CliError;
use super::output;
use crate::storage::rbd::{Connection, space_and_fsid};

/// Ask a Ceph cluster for its id and free space, through librados
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The cluster's configuration file.
    #[arg(long, value_name = "FILE")]
    conf: Option<String>,
    /// The cluster's monitors.
    #[arg(long, value_name = "HOST,..")]
    monitors: Option<String>,
    /// The user, with its type.
    #[arg(long, value_name = "client.NAME")]
    user: String,
    /// The file with the user's key.
    #[arg(long, value_name = "FILE")]
    keyring: Option<String>,
}

/// Seconds to look for monitors. Short: whoever gets no answer asks the `ceph` program next, which
/// has more patience.
const PATIENCE: &str = "5";

/// Runs the command.
///
/// # Errors
/// librados is not there, or the cluster does not answer.
pub fn run(args: &Args) -> Result<u8, CliError> {
    let connection = Connection {
        conf: args.conf.clone(),
        monitors: args.monitors.clone(),
        user: args.user.clone(),
        keyring: args.keyring.clone(),
    };
    let answer = space_and_fsid(&connection, PATIENCE).map_err(anyhow::Error::from)?;
    output::line(&answer);
    Ok(0)
}
