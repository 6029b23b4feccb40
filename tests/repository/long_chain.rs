//! A chain of more images than a process may have files open, and of more than are held in memory.

use pve_ferry::repository::image::*;
use pve_ferry::stream::{Header, StreamWriter};
use std::fs::File;
use std::path::Path;
use std::process::Command;

/// More than twice the files that the child may have open, and more than three times the frames
/// that are held at once.
const IMAGES: u64 = 300;

const BLOCK: u64 = 4096;

fn size() -> u64 {
    IMAGES * BLOCK
}

/// Each image writes the block of its own number, and the last block: everybody's.
fn make(directory: &Path) -> Vec<ChainLink> {
    let name = |n: u64| format!("s{n:03}");
    let link = |n: u64| {
        let (from, to) = (n.checked_sub(1).map(name), name(n));
        let header = Header { from: from.clone(), to: Some(to.clone()), size: size() };
        let mut writer = StreamWriter::new(Vec::new(), &header).unwrap();
        let bytes = vec![u8::try_from(n % 255 + 1).unwrap(); BLOCK as usize];
        for block in [n, IMAGES - 1].into_iter().take(if n + 1 == IMAGES { 1 } else { 2 }) {
            writer.write(block * BLOCK, &bytes).unwrap();
        }
        let stream = writer.finish().unwrap();
        let path = directory.join(&to);
        let mut data = File::create(&path).unwrap();
        let mut index = File::create(index_path(&path)).unwrap();
        let files = ImageSink { data: &mut data, index: &mut index };
        let zeros = ZeroRuns::Aligned;
        let options = ImageOptions { compression: Compression::None, threads: 1, zeros };
        let made = write_image(&mut &stream[..], &header, files, options, &|_| ()).unwrap();
        ChainLink { path, digest: made.digest, from, to }
    };
    (0..IMAGES).map(link).collect()
}

fn read_whole(links: &[ChainLink]) {
    let chain = ChainReader::open(links).unwrap();
    let mut next = 0;
    chain
        .for_each_block(2, &mut |offset, bytes| -> Result<(), ImageError> {
            for (place, byte) in (offset..).zip(bytes) {
                assert_eq!(u64::from(*byte), place / BLOCK % 255 + 1, "byte {place}");
            }
            assert_eq!(offset, next);
            next += bytes.len() as u64;
            Ok(())
        })
        .unwrap();
    assert_eq!(next, size());
    let mut last = [0];
    chain.read_at(7 * BLOCK, &mut last).unwrap();
    assert_eq!(last, [8]);
}

// A limit of a process is set where one begins.
#[allow(clippy::disallowed_methods)]
#[test]
fn a_chain_is_read_where_fewer_files_may_be_open_than_it_has_images() {
    if std::env::var_os("PVE_FERRY_TEST_FEW_FILES").is_some() {
        let directory = tempfile::tempdir().unwrap();
        read_whole(&make(directory.path()));
        return;
    }
    let own = "long_chain::a_chain_is_read_where_fewer_files_may_be_open_than_it_has_images";
    let mut child = Command::new("sh");
    child.args(["-c", "ulimit -n 160 && exec \"$0\" --exact \"$1\""]);
    child.arg(std::env::current_exe().unwrap()).arg(own);
    let output = child.env("PVE_FERRY_TEST_FEW_FILES", "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
