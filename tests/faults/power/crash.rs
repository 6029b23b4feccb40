//! What a file system may hold after the power went: a model of names and contents of which only what
//! was synced is sure. Knows nothing of repositories.
//!
//! POSIX promises little (fsync(2), rename(2)): bytes are there after `fsync` of their file, names after
//! `fsync` of their directory, and a rename is one change of names. What was not synced may have arrived,
//! in any order, or not; a file whose length arrived before its bytes reads as zeros.

use pve_ferry::repository::{FileId, FileOperation};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

type Id = usize;

/// What becomes of changes of names that were not synced.
#[derive(Debug, Clone, Copy)]
pub enum Names {
    /// None of them arrived.
    None,
    /// All of them did.
    All,
    /// Only the last one of each directory did: it overtook the others.
    Last,
    /// All but the first one of each directory did.
    AllButFirst,
    /// As the bits of a number fall.
    Some(u64),
}

/// What becomes of bytes that were not synced.
#[derive(Debug, Clone, Copy)]
pub enum Bytes {
    /// They are not there, nor is their length.
    Lost,
    /// Their length is there, and reads as zeros.
    Zeros,
    /// The first half of them is there.
    Half,
    /// All of them are there.
    There,
}

/// One change of a directory's names: these go, this one comes.
#[derive(Debug, Clone)]
struct Renaming {
    gone: Option<String>,
    set: Option<(String, Id)>,
}

#[derive(Debug, Clone)]
enum Node {
    File { synced: Vec<u8>, bytes: Vec<u8> },
    Dir { synced: BTreeMap<String, Id>, pending: Vec<Renaming> },
}

/// The disk below one directory.
#[derive(Debug, Clone)]
pub struct CrashDisk {
    root: PathBuf,
    nodes: Vec<Node>,
    /// The files that were made since, whatever their names are now.
    made: HashMap<FileId, Id>,
}

impl CrashDisk {
    /// What is there now in these directories of `root`, all of it on the medium.
    pub fn of(root: &Path, directories: &[&str]) -> Self {
        let mut disk = Self { root: root.to_owned(), nodes: Vec::new(), made: HashMap::new() };
        disk.nodes.push(Node::Dir { synced: BTreeMap::new(), pending: Vec::new() });
        let synced = directories
            .iter()
            .map(|name| ((*name).to_owned(), disk.load(&root.join(name))))
            .collect();
        disk.nodes[0] = Node::Dir { synced, pending: Vec::new() };
        disk
    }

    fn load(&mut self, path: &Path) -> Id {
        let id = self.nodes.len();
        if path.is_dir() {
            self.nodes.push(Node::Dir { synced: BTreeMap::new(), pending: Vec::new() });
            let mut names = BTreeMap::new();
            for entry in std::fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                names.insert(name, self.load(&entry.path()));
            }
            self.nodes[id] = Node::Dir { synced: names, pending: Vec::new() };
        } else {
            let bytes = std::fs::read(path).unwrap();
            self.nodes.push(Node::File { synced: bytes.clone(), bytes });
        }
        id
    }

    /// Takes one change as the program made it.
    pub fn apply(&mut self, change: &FileOperation) {
        use FileOperation::*;
        match change {
            CreateDir(path) => {
                self.make(path, Node::Dir { synced: BTreeMap::new(), pending: Vec::new() });
            }
            Create(file, path) => {
                let id = self.make(path, Node::File { synced: Vec::new(), bytes: Vec::new() });
                self.made.insert(*file, id);
            }
            Write(file, more) => self.file(*file).1.extend_from_slice(more),
            Fsync(file) => {
                let (synced, bytes) = self.file(*file);
                synced.clone_from(bytes);
            }
            FsyncDir(path) => {
                let id = self.find(path);
                let synced = self.names(id, |_| true);
                self.nodes[id] = Node::Dir { synced, pending: Vec::new() };
            }
            Rename(from, to) => {
                assert_eq!(from.parent(), to.parent(), "renames stay in their directory");
                let id = self.find(from);
                self.rename(to, Renaming { gone: Some(name(from)), set: Some((name(to), id)) });
            }
            Unlink(path) | RemoveDir(path) => {
                self.rename(path, Renaming { gone: Some(name(path)), set: None });
            }
            Touch(_) | Forget(_) => {}
        }
    }

    /// What is sure of a file that was made meanwhile, and what it holds.
    fn file(&mut self, file: FileId) -> (&mut Vec<u8>, &mut Vec<u8>) {
        match &mut self.nodes[self.made[&file]] {
            Node::File { synced, bytes } => (synced, bytes),
            Node::Dir { .. } => panic!("{file:?} is a directory"),
        }
    }

    fn make(&mut self, path: &Path, node: Node) -> Id {
        self.nodes.push(node);
        let id = self.nodes.len() - 1;
        self.rename(path, Renaming { gone: None, set: Some((name(path), id)) });
        id
    }

    fn rename(&mut self, path: &Path, renaming: Renaming) {
        let parent = self.find(path.parent().unwrap());
        let Node::Dir { pending, .. } = &mut self.nodes[parent] else { panic!("{path:?}") };
        pending.push(renaming);
    }

    /// The node that a path leads to, as the program sees it.
    fn find(&self, path: &Path) -> Id {
        let below = path.strip_prefix(&self.root).unwrap();
        below.components().fold(0, |id, part| {
            let names = self.names(id, |_| true);
            let part = part.as_os_str().to_str().unwrap();
            *names.get(part).unwrap_or_else(|| panic!("{part} of {path:?} is not there"))
        })
    }

    /// The names of a directory when those of its pending changes arrived.
    fn names(&self, dir: Id, arrived: impl Fn(usize) -> bool) -> BTreeMap<String, Id> {
        let Node::Dir { synced, pending } = &self.nodes[dir] else { panic!("not a directory") };
        let mut names = synced.clone();
        for (_, renaming) in pending.iter().enumerate().filter(|(i, _)| arrived(*i)) {
            if let Some(gone) = &renaming.gone {
                names.remove(gone);
            }
            if let Some((name, id)) = &renaming.set {
                names.insert(name.clone(), *id);
            }
        }
        names
    }

    /// What is found after the power came back.
    pub fn after(&self, names: Names, bytes: Bytes) -> Tree {
        let mut tree = Tree::default();
        self.collect(0, &PathBuf::new(), (names, bytes), &mut tree);
        tree
    }

    fn collect(&self, id: Id, path: &Path, fate: (Names, Bytes), tree: &mut Tree) {
        match &self.nodes[id] {
            Node::File { synced, bytes } => {
                tree.0.insert(path.to_owned(), Some(fate.1.of(synced, bytes)));
            }
            Node::Dir { pending, .. } => {
                tree.0.insert(path.to_owned(), None);
                let count = pending.len();
                for (name, child) in self.names(id, |i| fate.0.arrived(i, count, id)) {
                    self.collect(child, &path.join(name), fate, tree);
                }
            }
        }
    }
}

impl Names {
    fn arrived(self, place: usize, count: usize, dir: Id) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Last => place + 1 == count,
            Self::AllButFirst => place > 0,
            Self::Some(bits) => (bits >> ((place * 7 + dir * 13) % 61)) & 1 == 1,
        }
    }
}

impl Bytes {
    fn of(self, synced: &[u8], bytes: &[u8]) -> Vec<u8> {
        let mut found = synced.to_vec();
        let rest = &bytes[synced.len().min(bytes.len())..];
        match self {
            Self::Lost => {}
            Self::Zeros => found.resize(bytes.len(), 0),
            Self::Half => found.extend_from_slice(&rest[..rest.len() / 2]),
            Self::There => found.extend_from_slice(rest),
        }
        found
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Directories (`None`) and files by their path below the root.
#[derive(Debug, Default, PartialEq, Eq, Hash, Clone)]
pub struct Tree(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Tree {
    /// Makes the directory be what this tree has below that name.
    pub fn write(&self, directory: &Path, name: &str) {
        let _ = std::fs::remove_dir_all(directory);
        for (path, content) in self.0.iter() {
            let Ok(below) = path.strip_prefix(name) else { continue };
            match content {
                None => std::fs::create_dir(directory.join(below)).unwrap(),
                Some(bytes) => std::fs::write(directory.join(below), bytes).unwrap(),
            }
        }
    }
}
