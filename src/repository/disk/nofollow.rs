//! Reaching files by paths in which no symbolic link is followed, not even one that takes the place
//! of a directory while we look, and opening nothing but regular files: a repository may come from
//! a stranger. It knows no repository.
//!
//! The kernel does it in one call, openat2(2), since Linux 5.6; where that is missing, or a container
//! forbids it, the path is walked here.

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;
use std::ffi::OsStr;
use std::fs::{File, FileType, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path};

/// More names than any directory of ours has; a listing is held in memory.
const NAMES_LIMIT: usize = 1 << 20;

/// A name and the open directory in which it stands, or may stand.
pub(super) struct Place<'a> {
    pub(super) dir: OwnedFd,
    pub(super) name: &'a OsStr,
}

impl<'a> Place<'a> {
    /// Opens the directory above `path`.
    pub(super) fn of(path: &'a Path) -> io::Result<Self> {
        let no_name = || invalid("its path ends with no name");
        let name = path.file_name().ok_or_else(no_name)?;
        let dir = directory(path.parent().unwrap_or(Path::new("")), OFlag::O_PATH)?;
        Ok(Self { dir, name })
    }

    /// Opens what bears the name without touching it: no device, no FIFO hears of that.
    fn look(&self) -> io::Result<File> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(File::from(openat(&self.dir, self.name, flags, Mode::empty())?))
    }
}

/// Opens a regular file for reading. Whatever else bears the name is an error of the kind
/// `InvalidData` and not of the system: it says something of the file, and nothing of the disk.
///
/// # Errors
/// There is no such file, it is no regular file, a symbolic link stands in the path, or the file
/// system does not answer.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let place = Place::of(path)?;
    let seen = match place.look() {
        // A client of NFS may remember that a name is absent, or what bore it: opening asks the server.
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        seen => Some(seen?),
    };
    if let Some(seen) = &seen {
        must_be_file(seen.metadata()?.file_type())?;
    }
    match (open_by_name(&place), seen) {
        // Somebody holds a lease on the file, as a server that exports it: it ends while we wait.
        (Err(error), Some(seen)) if error.kind() == io::ErrorKind::WouldBlock => reopen(&seen),
        (opened, _) => opened,
    }
}

/// Opens by its name what was a regular file a moment ago; what bears the name now must not make us
/// wait.
fn open_by_name(place: &Place<'_>) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = openat(&place.dir, place.name, flags, Mode::empty()).map_err(said)?;
    let opened = File::from(opened);
    must_be_file(opened.metadata()?.file_type())?;
    Ok(opened)
}

/// Opens the very file that was looked at.
fn reopen(seen: &File) -> io::Result<File> {
    File::open(format!("/proc/self/fd/{}", seen.as_raw_fd()))
}

/// The facts of whatever bears a name, of a symbolic link its own; `None` when nothing does.
///
/// # Errors
/// A symbolic link stands in the path, or the file system does not answer.
pub(crate) fn facts(path: &Path) -> io::Result<Option<Metadata>> {
    let seen = match path.file_name() {
        Some(_) => Place::of(path).and_then(|place| place.look()),
        None => directory(path, OFlag::O_PATH).map(File::from),
    };
    match seen {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        seen => seen?.metadata().map(Some),
    }
}

/// The names in a directory that are UTF-8, in no order.
pub(super) fn names(path: &Path) -> io::Result<Vec<String>> {
    names_at_most(path, NAMES_LIMIT)
}

/// Whether nothing stands in a directory, whatever its name is made of.
pub(super) fn is_empty(path: &Path) -> io::Result<bool> {
    let mut dir = Dir::from_fd(directory(path, OFlag::O_RDONLY)?)?;
    for entry in dir.iter() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn names_at_most(path: &Path, limit: usize) -> io::Result<Vec<String>> {
    let mut dir = Dir::from_fd(directory(path, OFlag::O_RDONLY)?)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        match entry?.file_name().to_str() {
            Ok("." | "..") | Err(_) => {}
            Ok(_) if names.len() == limit => {
                return Err(invalid(&format!("it holds more than {limit} names")));
            }
            Ok(name) => names.push(name.to_owned()),
        }
    }
    Ok(names)
}

/// Opens a directory, without following a link anywhere in its path.
pub(super) fn directory(path: &Path, access: OFlag) -> io::Result<OwnedFd> {
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(invalid("its path leads upwards"));
    }
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = access | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let opened = match openat2(AT_FDCWD, path, how) {
        Err(Errno::ENOSYS | Errno::EPERM) => walk(path, flags),
        opened => opened,
    };
    opened.map_err(said)
}

/// The same component by component.
fn walk(path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    let parts: Vec<&OsStr> = path.components().map(Component::as_os_str).collect();
    let (last, above) = parts.split_last().ok_or(Errno::ENOENT)?;
    let step = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut dir: Option<OwnedFd> = None;
    for part in above {
        dir = Some(open_below(dir.as_ref(), part, step)?);
    }
    open_below(dir.as_ref(), last, flags | OFlag::O_NOFOLLOW)
}

fn open_below(dir: Option<&OwnedFd>, name: &OsStr, flags: OFlag) -> nix::Result<OwnedFd> {
    openat(dir.map_or(AT_FDCWD, AsFd::as_fd), name, flags, Mode::empty())
}

/// What stands in the way of a path is told in words, and as no failure of the system.
fn said(errno: Errno) -> io::Error {
    match errno {
        Errno::ELOOP => {
            invalid("a symbolic link stands in its path; in a repository none is followed")
        }
        Errno::ENOTDIR => invalid(
            "something in its path is no directory, or a symbolic link, which is not followed in a repository",
        ),
        other => other.into(),
    }
}

fn must_be_file(kind: FileType) -> io::Result<()> {
    let what = match kind {
        kind if kind.is_file() => return Ok(()),
        kind if kind.is_dir() => "a directory",
        kind if kind.is_symlink() => "a symbolic link, which is not followed in a repository",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(invalid(&format!("it is {what} and no regular file")))
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::mkfifo;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::{fs, io::Read};

    fn why<T>(result: io::Result<T>) -> String {
        let error = result.err().unwrap();
        assert_eq!((error.kind(), error.raw_os_error()), (io::ErrorKind::InvalidData, None));
        error.to_string()
    }

    #[test]
    fn nothing_but_a_regular_file_is_opened_and_nothing_makes_us_wait() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::write(at("file"), "text").unwrap();
        fs::hard_link(at("file"), at("twin")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
        let _listens = UnixListener::bind(at("socket")).unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink(at("loop"), at("loop")).unwrap();
        for (name, expected) in [
            ("directory", "it is a directory"),
            ("fifo", "it is a FIFO"),
            ("socket", "it is a socket"),
            ("link", "it is a symbolic link"),
            ("loop", "it is a symbolic link"),
            ("file/below", "no directory"),
        ] {
            let why = why(open_file(&at(name)));
            assert!(why.contains(expected), "{name}: {why}");
        }
        // Opening some devices is enough to do something: a watchdog resets the host.
        assert!(why(open_file(Path::new("/dev/null"))).contains("it is a device"));
        for name in ["file", "twin"] {
            let mut text = String::new();
            open_file(&at(name)).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "text");
        }
        assert_eq!(open_file(&at("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        // The same when it took the place of a file after the look.
        let by_name = |name: &str| open_by_name(&Place::of(&at(name)).unwrap());
        assert!(by_name("file").is_ok());
        for name in ["directory", "fifo", "socket", "link"] {
            assert!(by_name(name).is_err(), "{name}");
        }
        let seen = Place::of(&at("file")).unwrap().look().unwrap();
        assert_eq!(reopen(&seen).unwrap().metadata().unwrap().len(), 4);
    }

    #[test]
    fn no_link_is_followed_anywhere_in_a_path_by_the_kernel_or_by_our_walk() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        fs::create_dir_all(at("real/below")).unwrap();
        fs::write(at("real/below/file"), "text").unwrap();
        symlink(at("real"), at("link")).unwrap();
        symlink("real", at("relative")).unwrap();
        for above in ["link", "relative"] {
            assert!(why(open_file(&at(above).join("below/file"))).contains("symbolic link"));
            assert!(why(facts(&at(above).join("below"))).contains("symbolic link"));
            assert!(why(names(&at(above))).contains("symbolic link"));
            assert!(facts(&at(above)).unwrap().unwrap().is_symlink());
            for path in [at(above), at(above).join("below")] {
                assert!(walk(&path, OFlag::O_PATH | OFlag::O_DIRECTORY).is_err());
            }
        }
        assert!(walk(&at("real/below"), OFlag::O_RDONLY | OFlag::O_DIRECTORY).is_ok());
        assert!(why(open_file(&at("real/below/../below/file"))).contains("upwards"));
        assert_eq!(names(&at("real/below")).unwrap(), ["file"]);
        assert!(facts(Path::new("/")).unwrap().unwrap().is_dir());
        assert!(facts(&at("none/below")).unwrap().is_none());
    }

    #[test]
    fn names_are_listed_as_far_as_they_are_text() {
        use std::os::unix::ffi::OsStrExt;
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(OsStr::from_bytes(b"\xff")), "").unwrap();
        fs::write(home.path().join("two\nlines"), "").unwrap();
        assert_eq!(names(home.path()).unwrap(), ["two\nlines"]);
        assert_eq!(names_at_most(home.path(), 1).unwrap().len(), 1);
        assert!(why(names_at_most(home.path(), 0)).contains("more than 0 names"));
    }
}
