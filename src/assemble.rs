//! Writes one volume of a restore point as a sparse raw image into a file. Needs no storage and no
//! PVE; plans nothing, as it changes nothing that exists.

use crate::cancel::Cancel;
use crate::progress::Progress;
use crate::repository::image::ImageError;
use crate::repository::{Disk, OpenChain, StoredChain};
use crate::stall::Pulse;
use anyhow::{Context as _, bail};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assembled {
    /// The volume's size in bytes.
    pub size: u64,
    /// Bytes that were written; the rest are holes.
    pub data_bytes: u64,
}

/// Who is told and who may stop it, and what makes the file's name durable.
pub struct Watch<'a> {
    /// The file system.
    pub disk: &'a Disk,
    /// Told how far it is.
    pub progress: &'a dyn Progress,
    /// The user's wish to stop.
    pub cancel: &'a Cancel,
    /// Told of what tells nothing while it lasts; the progress beats it.
    pub pulse: &'a Pulse,
}

/// Why writing stopped.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("could not read the restore point")]
    Image(#[from] ImageError),
    #[error("could not write")]
    Write(#[from] std::io::Error),
    #[error("interrupted; nothing is left")]
    Interrupted,
}

/// Writes the image. The file appears under its name when it is whole and durable; until then it
/// is called `.partial`, and a failure removes it.
///
/// # Errors
/// The output exists, the chain is damaged, the disk is full, or the user wished to stop.
pub fn assemble(
    stored: &StoredChain,
    output: &Path,
    threads: usize,
    watch: &Watch,
) -> anyhow::Result<Assembled> {
    if output.symlink_metadata().is_ok() {
        bail!("{} exists and is not touched: choose another --output", output.display());
    }
    let chain = open(stored, watch)?;
    let partial = partial(output);
    let file = create(&partial)?;
    let stays = watch.cancel.open(format!("file {}", partial.display()));
    let written =
        write(&chain, &file, threads, watch).map_err(anyhow::Error::from).and_then(|bytes| {
            let publish = || publish(&file, &partial, output, watch.disk);
            watch.pulse.silently(publish).map(|()| bytes)
        });
    drop(stays);
    let data_bytes = match written {
        Ok(bytes) => bytes,
        Err(error) => {
            // Best effort: the error that matters is the first one.
            let _ = std::fs::remove_file(&partial);
            return Err(error.context(format!("write {}", output.display())));
        }
    };
    Ok(Assembled { size: chain.size(), data_bytes })
}

/// Opens a chain; where that means to read all of it, it is shown and can be stopped.
fn open(stored: &StoredChain, watch: &Watch) -> anyhow::Result<OpenChain> {
    let total = stored.bytes_to_open();
    let meter = (total > 0).then(|| watch.progress.begin("check", total));
    let opened = stored.open(&|bytes: u64| {
        if let Some(meter) = &meter {
            meter.add(bytes);
        }
        watch.cancel.check()
    });
    if let Some(meter) = &meter {
        meter.end();
    }
    opened.context("open the images")
}

/// The name of the file until it is whole.
pub fn partial(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

fn create(partial: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(partial)
        .with_context(|| format!("create {} (an earlier run may have left it)", partial.display()))
}

fn write(chain: &OpenChain, file: &File, threads: usize, watch: &Watch) -> Result<u64, Stopped> {
    file.set_len(chain.size())?;
    let mut written = 0;
    let meter = watch.progress.begin("assemble", chain.data_bytes());
    let result = chain.for_each_block(threads, &mut |offset, data: &[u8]| {
        if watch.cancel.is_cancelled() {
            return Err(Stopped::Interrupted);
        }
        file.write_all_at(data, offset)?;
        meter.add(data.len() as u64);
        written += data.len() as u64;
        Ok(())
    });
    meter.end();
    result.map(|()| written)
}

/// Durable first, then visible; a file that appeared meanwhile is not replaced.
fn publish(file: &File, partial: &Path, output: &Path, disk: &Disk) -> anyhow::Result<()> {
    file.sync_all().context("make it durable")?;
    match renameat2(AT_FDCWD, partial, AT_FDCWD, output, RenameFlags::RENAME_NOREPLACE) {
        // File systems that do not know the flag say EINVAL (rename(2)).
        Err(nix::Error::EINVAL) if output.symlink_metadata().is_err() => {
            std::fs::rename(partial, output).context("give it its name")?;
        }
        other => other.context("give it its name")?,
    }
    let directory = match output.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    // A name that a loss of power takes back is no file that was made.
    match directory.canonicalize().and_then(|directory| disk.fsync_dir(&directory)) {
        // Some servers know nothing of the kind.
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            Ok(())
        }
        synced => synced.context("make its name durable (the file itself is whole)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::{Fault, FileOperation};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn the_name_of_a_file_that_was_made_is_durable() {
        let home = tempfile::tempdir().unwrap();
        let (dir, link) = (home.path().join("real"), home.path().join("link"));
        std::fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        let output = link.join("disk.raw");
        let file = create(&partial(&output)).unwrap();
        let (synced, seen) = (Arc::new(AtomicUsize::new(0)), output.clone());
        let count = Arc::clone(&synced);
        let disk = Disk::watched(move |step| {
            assert_eq!(*step, FileOperation::FsyncDir(dir.canonicalize().unwrap()));
            assert!(seen.exists() && !partial(&seen).exists());
            count.fetch_add(1, Ordering::SeqCst);
        });
        publish(&file, &partial(&output), &output, &disk).unwrap();
        assert_eq!(synced.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_name_that_cannot_be_made_durable_is_told() {
        let home = tempfile::tempdir().unwrap();
        let output = home.path().join("disk.raw");
        let file = create(&partial(&output)).unwrap();
        let disk = Disk::failing_at(0, Fault::Io);
        let error = publish(&file, &partial(&output), &output, &disk).unwrap_err();
        assert!(error.to_string().contains("make its name durable"), "{error}");
        assert!(output.exists());
    }
}
