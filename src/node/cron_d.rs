//! The node's cron file: replaced whole, and never silently over somebody's edit. What stands in it
//! is `job::crontab`'s to say.

use super::NodeError;
use crate::job::crontab::{FILE, is_edited};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The directory that cron reads.
#[derive(Debug, Clone)]
pub struct CronD {
    directory: PathBuf,
}

/// What writing the file came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It said the same already.
    Same,
    /// It is new, or replaced.
    New,
    /// Somebody had edited it by hand; that text is in the file named here.
    ReplacedEdited(PathBuf),
}

impl CronD {
    /// The directory: `/etc/cron.d`, or what `PVE_FERRY_CRON_D` says.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Puts a text in the file's place, 0644. Readers, cron above all, see the old or the new one.
    ///
    /// # Errors
    /// The directory is not there, or writing fails; the old file is then still there.
    pub fn write(&self, text: &str) -> Result<Written, NodeError> {
        let path = self.path();
        let old = match fs::read(&path) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(NodeError::read(path)(error)),
        };
        if !self.directory.is_dir() {
            return Err(NodeError::NoCron(self.directory.clone()));
        }
        let is_fit =
            fs::metadata(&path).is_ok_and(|facts| facts.permissions().mode() & 0o777 == 0o644);
        if old.as_deref() == Some(text) && is_fit {
            return Ok(Written::Same);
        }
        let mut written = Written::New;
        if let Some(old) = old.filter(|old| is_edited(old)) {
            // Cron ignores a name with a dot in it.
            let aside = self.directory.join(format!("{FILE}.edited"));
            replace(&aside, &old)?;
            written = Written::ReplacedEdited(aside);
        }
        replace(&path, text)?;
        Ok(written)
    }
}

fn replace(path: &Path, text: &str) -> Result<(), NodeError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let draft = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let made = (|| {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(&draft)?;
        file.write_all(text.as_bytes())?;
        // Whatever the umask is: cron refuses other modes.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&draft, path)?;
        path.parent().map_or(Ok(()), |parent| fs::File::open(parent)?.sync_all())
    })();
    made.map_err(|source| {
        // The first error is the one to tell.
        let _ = fs::remove_file(&draft);
        NodeError::write(path.to_owned())(source)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::crontab::rendered;

    #[test]
    fn a_file_is_replaced_whole_and_an_edit_is_kept_aside() {
        let dir = tempfile::tempdir().unwrap();
        let cron = CronD::new(dir.path().to_owned());
        let (one, two) = (rendered(&[], &[], "pve1"), rendered(&[], &[], "pve1") + "# more\n");
        assert_eq!(cron.write(&one).unwrap(), Written::New);
        assert_eq!(cron.write(&one).unwrap(), Written::Same);
        let mode = fs::metadata(cron.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        fs::write(cron.path(), &two).unwrap();
        let aside = dir.path().join("pve-ferry.edited");
        assert_eq!(cron.write(&one).unwrap(), Written::ReplacedEdited(aside.clone()));
        assert_eq!(fs::read_to_string(aside).unwrap(), two);
        assert_eq!(fs::read_to_string(cron.path()).unwrap(), one);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_mode_that_cron_refuses_is_put_right() {
        let dir = tempfile::tempdir().unwrap();
        let cron = CronD::new(dir.path().to_owned());
        let text = rendered(&[], &[], "pve1");
        cron.write(&text).unwrap();
        fs::set_permissions(cron.path(), fs::Permissions::from_mode(0o664)).unwrap();
        assert_eq!(cron.write(&text).unwrap(), Written::New);
    }

    #[test]
    fn a_node_without_cron_is_told() {
        let cron = CronD::new("/nowhere/cron.d".into());
        assert!(cron.write("x").unwrap_err().to_string().contains("install cron"));
    }
}
