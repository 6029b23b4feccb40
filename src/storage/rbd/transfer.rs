//! Streams out of and into images. Does not look into them: the image writer does.

use super::failure::Deed;
use super::{Rbd, at};
use crate::model::{SnapshotIdentity, VolumeIdentity};
use crate::storage::transfer::{End, Export, Finish, Import};
use crate::storage::{Changed, Result, StorageError, VolumeFacts, own_name, refuse_watchers};
use crate::transport::{ChildExit, Command, TransportError};
use std::time::Duration;

/// The end of a transfer of an image.
#[derive(Debug)]
pub(in crate::storage) struct Transfer {
    rbd: Rbd,
    exit: ChildExit,
    object: String,
    direction: Direction,
}

#[derive(Debug)]
enum Direction {
    /// Out of these snapshots of a volume, newest first.
    Out {
        volume: String,
        snapshots: Vec<SnapshotIdentity>,
    },
    In,
}

/// From the last byte to the end of the process; an import still has writes to finish.
const AFTERWARDS: Duration = Duration::from_secs(600);

pub(super) fn export(
    rbd: &Rbd,
    facts: &VolumeFacts,
    own: &SnapshotIdentity,
    since: Option<&SnapshotIdentity>,
) -> Result<Export> {
    let snapshots: Vec<SnapshotIdentity> = std::iter::once(own).chain(since).cloned().collect();
    check(rbd, facts, &snapshots)?;
    let volume = facts.name.as_str();
    let command = Command::reads("rbd").args(["export-diff", "--no-progress"]);
    let command = command.args(["--image", own_name(volume), "--snap", &own.name]);
    let command = match since {
        Some(since) => command.args(["--from-snap", &since.name]),
        None => command,
    };
    let command = with_threads(rbd, command.args(["--path", "-"]));
    let object = at(volume, &own.name);
    let source = rbd.0.host.source(&command);
    let source = source.map_err(|error| Deed::reading(rbd, &object).failed(error))?;
    let direction = Direction::Out { volume: volume.to_owned(), snapshots };
    let transfer =
        Transfer { rbd: rbd.clone(), exit: source.exit, object: rbd.object(&object), direction };
    let exit = Finish(End::Rbd(Box::new(transfer)));
    Ok(Export { reader: Box::new(source.reader), exit })
}

pub(super) async fn import(rbd: &Rbd, volume: &str, expected: &VolumeIdentity) -> Result<Import> {
    let ((facts, watchers), object) = (rbd.with_watchers(volume).await?, rbd.object(volume));
    facts.check(&object, expected)?;
    refuse_watchers(watchers, &object)?;
    // Given as `-`, rbd writes one extent at a time (`do_import_diff_fd`); given as a path it has as
    // many in flight as we say. sshd may give a socket, which cannot be opened as a path.
    let path = if rbd.0.host.is_remote() { "-" } else { "/dev/stdin" };
    let command = Command::writes("rbd").args(["import-diff", "--no-progress"]);
    let command = command.args(["--image", own_name(volume), "--path", path]);
    let sink = rbd.0.host.sink(&with_threads(rbd, command));
    let sink = sink.map_err(|error| Deed::new("import into", rbd, volume).failed(error))?;
    let transfer = Transfer { rbd: rbd.clone(), exit: sink.exit, object, direction: Direction::In };
    let exit = Finish(End::Rbd(Box::new(transfer)));
    Ok(Import { into: facts, writer: Box::new(sink.writer), exit })
}

impl Transfer {
    pub(in crate::storage) async fn wait(self) -> Result<()> {
        let Self { rbd, exit, object, direction } = self;
        let ended = exit.wait().await;
        match direction {
            Direction::In => ended.map_err(|source| StorageError::Tool {
                action: "import into",
                changed: if source.did_not_run() { Changed::Nothing } else { Changed::Partly },
                object,
                source,
            }),
            Direction::Out { volume, snapshots } => {
                ended.map_err(|source| export_error(object, source))?;
                // rbd goes by names. Numbers are never given again, so if these snapshots are still
                // there, the names meant them all the time.
                check(&rbd, &rbd.require(&volume).await?, &snapshots)
            }
        }
    }

    pub(in crate::storage) fn kill(&mut self) {
        self.exit.kill();
    }
}

fn export_error(object: String, source: TransportError) -> StorageError {
    StorageError::Tool { action: "export", object, changed: Changed::Nothing, source }
}

fn check(rbd: &Rbd, facts: &VolumeFacts, snapshots: &[SnapshotIdentity]) -> Result<()> {
    let object = |snapshot: &SnapshotIdentity| rbd.object(&at(&facts.name, &snapshot.name));
    snapshots.iter().try_for_each(|expected| facts.find(&object(expected), expected).map(drop))
}

fn with_threads(rbd: &Rbd, command: Command) -> Command {
    let threads = rbd.0.config.io_threads.max(1).to_string();
    let command = command.args(["--rbd-concurrent-management-ops", &threads]);
    rbd.0.config.connect(command).deadline(AFTERWARDS)
}
