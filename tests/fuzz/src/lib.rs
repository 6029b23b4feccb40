//! What must hold for whatever bytes come: no panic, no memory without end, and what is accepted means
//! the same after a round trip. How the bytes are found is libFuzzer's work, or the smoke run's.
//!
//! A parser of foreign input that is added to the product gets a target here and a line in `TARGETS`.

use pve_ferry::plan::guest_config::{Identity, Restoration, restored_config};
use pve_ferry::pve::{GuestConfig, StorageCfg};
use pve_ferry::repository::Manifest;
use pve_ferry::repository::image::{
    Compression, ImageIndex, ImageOptions, ImageSink, ZeroRuns, write_image,
};
use pve_ferry::stream::{Header, Record, StreamReader, StreamWriter};
use std::fs;
use std::path::Path;

/// A target: its name, what it does with bytes, and valid inputs to begin with.
pub struct Target {
    /// The name of the libFuzzer binary, too.
    pub name: &'static str,
    /// Panics when something does not hold.
    pub run: fn(&[u8]),
    /// Inputs that are accepted.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "stream", run: stream, seeds: stream_seeds },
    Target { name: "index", run: index, seeds: index_seeds },
    Target { name: "image", run: image, seeds: image_seeds },
    Target { name: "manifest", run: manifest, seeds: manifest_seeds },
    Target { name: "config", run: config, seeds: config_seeds },
];

/// Bigger volumes are not made in memory.
const SIZE_LIMIT: u64 = 8 << 20;

/// The stream reader; a stream that it accepts must mean the same as an image.
pub fn stream(data: &[u8]) {
    let Some((header, content)) = content_of(data) else { return };
    let (image, _) = image_of(data, &header, Compression::None).expect("a stream that is accepted");
    let (again, restored) = content_of(&image).expect("our own image");
    assert_eq!(again, header);
    // What was in the volume before shows where an increment says nothing.
    assert!(restored == content, "the image means something else than the stream");
}

/// The index reader. The digest at its end is made right, or nothing else would be reached.
pub fn index(data: &[u8]) {
    let signed = [data, blake3::hash(data).as_bytes()].concat();
    let Ok(index) = ImageIndex::read(&mut &signed[..]) else { return };
    let mut written = Vec::new();
    index.write(&mut written).expect("memory");
    let again = ImageIndex::read(&mut &written[..]).expect("our own index");
    assert_eq!(again, index);
    assert_eq!(again.root_digest(), index.root_digest());
    assert!(index.file_length() >= index.tail().len() as u64);
}

/// The scan of an image file, of any codec.
pub fn image(data: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), data).expect("a file");
    let Ok(index) = ImageIndex::scan(file.path()) else { return };
    assert_eq!(index.file_length(), data.len() as u64);
}

/// The manifest reader: whatever is in the file, it answers, and what it accepts reads the same and
/// names no file but its own. The seal is made right as well, or nothing behind it would be reached.
pub fn manifest(data: &[u8]) {
    for bytes in [data.to_vec(), sealed(data)] {
        let Ok(manifest) = Manifest::parse(&bytes) else { continue };
        assert_eq!(Manifest::parse(&bytes).expect("the same bytes"), manifest);
        for image in &manifest.images {
            let file = Path::new(&*image.file);
            assert_eq!(file.file_name(), Some(file.as_os_str()), "{file:?} leads elsewhere");
            assert!(image.file.ends_with(".rbd") || image.file.contains(".rbd."), "{file:?}");
        }
    }
}

/// The document with the seal that fits what stands before it.
fn sealed(data: &[u8]) -> Vec<u8> {
    const SEAL: &[u8] = b",\n  \"seal\": \"blake3:";
    let end = data.windows(SEAL.len()).rposition(|part| part == SEAL).unwrap_or(data.len());
    let hash = blake3::hash(&data[..end]).to_hex();
    [&data[..end], SEAL, hash.as_bytes(), b"\"\n}\n"].concat()
}

/// The parsers of guest configurations and storage.cfg, which must not lose a byte, and what a
/// restore makes of a configuration.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert_eq!(StorageCfg::parse(text).to_string(), text);
    let config = GuestConfig::parse(text);
    assert_eq!(config.to_string(), text);
    let _ = (config.volumes(), config.smbios_uuid(), config.freeze_enabled(), config.lock());
    let restoration = Restoration {
        volumes: Default::default(),
        identity: Identity::New,
        made_anew: Default::default(),
        mac_prefix: Default::default(),
    };
    let restored = restored_config(&config, &restoration, &mut std::iter::repeat(7));
    let restored = restored.expect("random bytes without end").to_string();
    assert_eq!(GuestConfig::parse(&restored).to_string(), restored);
}

fn manifest_seeds() -> Vec<Vec<u8>> {
    const LABEL: &str = "tests/data/repository/v1/pve-ferry/lab-0f1e2d3c/100-00000abc/daily";
    // This is built in two workspaces, the product's and that of the fuzz targets inside it.
    let mut above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let points = above.find_map(|root| fs::read_dir(root.join(LABEL)).ok());
    points
        .expect("the golden repository")
        .filter_map(|point| fs::read(point.expect("a point").path().join("manifest.json")).ok())
        .collect()
}

fn config_seeds() -> Vec<Vec<u8>> {
    let seeds = [
        "#a description\nagent: 1,fstrim_cloned_disks=1\nscsi0: ceph:vm-100-disk-0,size=32G,ssd=1\n\
         ide2: none,media=cdrom\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n\
         smbios1: uuid=00000000-0000-4000-8000-000000000100\nvmgenid: 1\n\n[PENDING]\ndelete: net1\n\n\
         [snap]\nparent: x\nscsi0: ceph:vm-100-disk-0,size=32G\n",
        "rootfs: ceph:vm-101-disk-0,size=8G\nmp0: /srv,mp=/srv\nlxc.idmap = u 0 100000 65536\r\n",
        "rbd: ceph\n\tpool rbd\n\tmonhost 10.0.0.1 10.0.0.2\n\tkrbd\n\n# comment\ndir: local\n\tpath /var/lib/vz\n",
    ];
    seeds.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn image_of(
    stream: &[u8],
    header: &Header,
    compression: Compression,
) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut data, mut index) = (Vec::new(), Vec::new());
    let files = ImageSink { data: &mut data, index: &mut index };
    let options = ImageOptions { compression, threads: 1, zeros: ZeroRuns::Aligned };
    write_image(&mut &stream[..], header, files, options, &|_| ()).ok()?;
    Some((data, index))
}

/// What a volume full of ones holds after a stream, when it is a valid one of a small volume.
fn content_of(data: &[u8]) -> Option<(Header, Vec<u8>)> {
    let mut reader = StreamReader::new(data).ok()?;
    let header = reader.read_header().ok()?;
    // A base is for a volume that reads as zero.
    let before = u8::from(header.from.is_some());
    let small = header.size <= SIZE_LIMIT;
    let mut content = vec![before; if small { header.size as usize } else { 0 }];
    let mut buffer = vec![0; 4096];
    loop {
        assert!(reader.position() <= data.len() as u64);
        match reader.next_record().ok()? {
            Record::Write { mut offset, .. } => loop {
                let count = reader.read_data(&mut buffer).ok()?;
                if count == 0 {
                    break;
                }
                if small {
                    let start = offset as usize;
                    content[start..start + count].copy_from_slice(&buffer[..count]);
                }
                offset += count as u64;
            },
            Record::Zero { offset, length } if small => {
                content[offset as usize..(offset + length) as usize].fill(0);
            }
            Record::Zero { .. } => {}
            Record::End => break,
            // Metadata behind the header: a second name, which may stand there until data comes.
            _ => return None,
        }
    }
    reader.finish().ok()?;
    small.then_some((header, content))
}

fn stream_seeds() -> Vec<Vec<u8>> {
    let make = |from: Option<&str>, size: u64| {
        let header = Header { from: from.map(str::to_owned), to: Some("s".into()), size };
        let mut writer = StreamWriter::new(Vec::new(), &header).expect("memory");
        writer.write(10, b"some data").expect("memory");
        writer.zero(1000, 300).expect("memory");
        writer.write(65_000, &vec![0; 70_000]).expect("memory");
        writer.zero(140_000, 200_000).expect("memory");
        writer.write(400_000, b"more").expect("memory");
        writer.finish().expect("memory")
    };
    vec![make(None, 500_000), make(Some("r"), 1 << 20), make(Some("r"), 1 << 40)]
}

/// Takes the index or the image's file of both.
type Part = fn((Vec<u8>, Vec<u8>)) -> Vec<u8>;

fn images(part: Part) -> Vec<Vec<u8>> {
    let codecs = [Compression::None, Compression::Zstd(1), Compression::Gzip, Compression::Bzip2];
    let mut all = Vec::new();
    for stream in stream_seeds() {
        let mut reader = StreamReader::new(&stream[..]).expect("a seed");
        let header = reader.read_header().expect("a seed");
        for codec in codecs {
            all.push(part(image_of(&stream, &header, codec).expect("a seed")));
        }
    }
    all
}

fn image_seeds() -> Vec<Vec<u8>> {
    images(|(data, _)| data)
}

fn index_seeds() -> Vec<Vec<u8>> {
    // Without its digest, which the target adds.
    images(|(_, index)| index[..index.len() - 32].to_vec())
}
