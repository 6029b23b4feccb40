//! The node's cron file: replaced whole, and never silently over somebody's edit. What stands in it
//! is `job::crontab`'s to say, and whether that is right `job::cron_check`'s.
//!
//! Once a minute cron looks whether the whole seconds of the directory's or of a known file's mtime
//! are others than last time, and reads nothing otherwise (database.c of Debian's cron 3.0pl1-162). A
//! change within the second of cron's own look would be overlooked for ever, a job of it never run. So
//! every change here gets a second of its own: that of the file where cron can know it, that of the
//! directory where it cannot.

use super::NodeError;
use crate::job::crontab::{FILE, is_edited};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The directory that cron reads.
#[derive(Debug, Clone)]
pub struct CronD {
    directory: PathBuf,
}

/// The file as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its text.
    pub text: String,
    /// Why cron passes it over, whatever stands in it.
    pub refused: Option<&'static str>,
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

    /// Reads the file; none when it is not there.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn found(&self) -> Result<Option<Found>, NodeError> {
        let Some(bytes) = self.read()? else { return Ok(None) };
        let path = self.path();
        let refused = self.refused().map_err(NodeError::read(path))?;
        Ok(Some(Found { text: String::from_utf8_lossy(&bytes).into_owned(), refused }))
    }

    fn read(&self) -> Result<Option<Vec<u8>>, NodeError> {
        match fs::read(self.path()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(NodeError::read(self.path())(error)),
        }
    }

    /// Why cron passes the file over (database.c). The owner of the directory is root.
    fn refused(&self) -> io::Result<Option<&'static str>> {
        let (file, directory) = (fs::metadata(self.path())?, fs::metadata(&self.directory)?);
        Ok(if file.mode() & 0o022 != 0 {
            Some("others than root may write to it")
        } else if file.uid() != directory.uid() {
            Some("it belongs to another user than root")
        } else if file.nlink() != 1 {
            Some("it has a second name (a hard link)")
        } else {
            None
        })
    }

    /// Puts a text in the file's place, 0644. Readers, cron above all, see the old or the new one.
    ///
    /// # Errors
    /// The directory is not there, or writing fails; the old file is then still there.
    pub fn write(&self, text: &str) -> Result<Written, NodeError> {
        let path = self.path();
        let old = self.read()?;
        if !self.directory.is_dir() {
            return Err(NodeError::NoCron(self.directory.clone()));
        }
        let is_fit = fs::metadata(&path)
            .is_ok_and(|facts| facts.permissions().mode() & 0o777 == 0o644)
            && self.refused().is_ok_and(|why| why.is_none());
        if old.as_deref() == Some(text.as_bytes()) && is_fit {
            return Ok(Written::Same);
        }
        let is_new = old.is_none();
        let mut written = Written::New;
        if let Some(old) = old.filter(|old| is_edited(&String::from_utf8_lossy(old))) {
            let aside = self.aside(&old);
            replace(&aside, &old)?;
            written = Written::ReplacedEdited(aside);
        }
        replace(&path, text.as_bytes())?;
        if is_new {
            self.get_noticed().map_err(NodeError::write(self.directory.clone()))?;
        }
        Ok(written)
    }

    /// Where an edited text is kept: under a name with a dot in it, which cron ignores, and that holds
    /// no other edited text.
    fn aside(&self, text: &[u8]) -> PathBuf {
        let numbered = (2..KEPT).map(|number| format!("{FILE}.edited.{number}"));
        let names = std::iter::once(format!("{FILE}.edited")).chain(numbered);
        let mut paths = names.map(|name| self.directory.join(name));
        let is_free = |path: &PathBuf| fs::read(path).map_or(!path.exists(), |old| old == text);
        // Whoever edits it a hundred times is not a person; then the last text makes place.
        let last = self.directory.join(format!("{FILE}.edited.{KEPT}"));
        paths.find(is_free).unwrap_or(last)
    }

    /// Changes the directory once more in a later second than it was changed before. Takes that long.
    fn get_noticed(&self) -> io::Result<()> {
        let was = second_of(&self.directory)?;
        let touch = self.directory.join(format!(".{FILE}.{}.touch", std::process::id()));
        // A clock that stands or runs backwards must not hold us.
        for _ in 0..TRIES {
            fs::write(&touch, "")?;
            fs::remove_file(&touch)?;
            if second_of(&self.directory)? > was {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// How many edited texts are kept.
const KEPT: u32 = 100;

/// Together more than a second.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_millis(50);

/// The mtime as cron compares it.
fn second_of(path: &Path) -> io::Result<i64> {
    Ok(fs::metadata(path)?.mtime())
}

/// Gives a file that takes another's place an mtime in a later second.
fn be_later_than(old: &Path, file: &fs::File) -> io::Result<()> {
    match second_of(old) {
        Ok(second) if file.metadata()?.mtime() <= second => {
            let later = Duration::from_secs(u64::try_from(second).unwrap_or(0) + 1);
            file.set_modified(SystemTime::UNIX_EPOCH + later)
        }
        _ => Ok(()),
    }
}

fn replace(path: &Path, text: &[u8]) -> Result<(), NodeError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let draft = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let made = (|| {
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(&draft)?;
        file.write_all(text)?;
        // Whatever the umask is: cron refuses other modes.
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        be_later_than(path, &file)?;
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
        assert_eq!(fs::read_to_string(&aside).unwrap(), two);
        assert_eq!(fs::read_to_string(cron.path()).unwrap(), one);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
        // The same edit again, as a tool would make it, is kept once; another one beside it.
        fs::write(cron.path(), &two).unwrap();
        assert_eq!(cron.write(&one).unwrap(), Written::ReplacedEdited(aside.clone()));
        let three = b"0 0 * * * root echo \xff\n";
        fs::write(cron.path(), three).unwrap();
        let second = dir.path().join("pve-ferry.edited.2");
        assert_eq!(cron.write(&one).unwrap(), Written::ReplacedEdited(second.clone()));
        assert_eq!(
            (fs::read(aside).unwrap(), fs::read(second).unwrap()),
            (two.into(), three.into())
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_file_that_cron_passes_over_is_known_and_made_right() {
        let dir = tempfile::tempdir().unwrap();
        let cron = CronD::new(dir.path().to_owned());
        let text = rendered(&[], &[], "pve1");
        assert_eq!(cron.found().unwrap(), None);
        cron.write(&text).unwrap();
        assert_eq!(cron.found().unwrap(), Some(Found { text: text.clone(), refused: None }));
        let refused = || cron.found().unwrap().unwrap().refused;
        fs::set_permissions(cron.path(), fs::Permissions::from_mode(0o664)).unwrap();
        assert_eq!(refused(), Some("others than root may write to it"));
        assert_eq!(cron.write(&text).unwrap(), Written::New);
        assert_eq!(refused(), None);
        fs::hard_link(cron.path(), dir.path().join("x.bak")).unwrap();
        assert_eq!(refused(), Some("it has a second name (a hard link)"));
        assert_eq!(cron.write(&text).unwrap(), Written::New);
        assert_eq!(refused(), None);
        fs::remove_file(cron.path()).unwrap();
        fs::create_dir(cron.path()).unwrap();
        assert!(cron.found().is_err());
    }

    #[test]
    fn every_change_has_a_second_of_its_own_so_that_cron_sees_it() {
        let dir = tempfile::tempdir().unwrap();
        let cron = CronD::new(dir.path().to_owned());
        let text = |n: usize| rendered(&[], &[(format!("job{n}"), "why".to_owned())], "pve1");
        cron.write(&text(0)).unwrap();
        let mut last = second_of(&cron.path()).unwrap();
        assert!(second_of(dir.path()).unwrap() > last, "a file that cron does not know");
        for n in 1..4 {
            cron.write(&text(n)).unwrap();
            let now = second_of(&cron.path()).unwrap();
            assert!(now > last, "a file that cron knows: {now} after {last}");
            last = now;
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
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
