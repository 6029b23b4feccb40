//! Streams and images against a volume that is a plain `Vec<u8>`. No storage and no manifest.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

use proptest::collection::vec;
use proptest::prelude::*;
use pve_ferry::repository::image::{
    ChainLink, ChainReader, Compression, Damage, ImageError, ImageIndex, ImageOptions, ImageReader,
    ImageSink, ImageSummary, ZeroRuns, index_path, write_image,
};
use pve_ferry::stream::{Header, Record, StreamReader, StreamWriter};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

const MIB: usize = 1 << 20;

/// What happens to a volume between two points.
#[derive(Debug, Clone)]
enum Change {
    Write { offset: usize, length: usize, seed: u8 },
    Discard { offset: usize, length: usize },
    Resize(usize),
}

/// Offsets and lengths that like the borders of granules, frames and objects.
fn place() -> impl Strategy<Value = usize> {
    let near = |unit: usize| (0..6 * MIB / unit).prop_map(move |n| n * unit);
    let borders = prop_oneof![near(4096), near(64 << 10), near(MIB)];
    (borders, prop_oneof![Just(0), Just(1), Just(512), 0..4096_usize]).prop_map(|(a, b)| a + b)
}

fn change() -> impl Strategy<Value = Change> {
    let length = prop_oneof![place(), 1..100_000_usize];
    prop_oneof![
        4 => (place(), length.clone(), 0..5_u8)
            .prop_map(|(offset, length, seed)| Change::Write { offset, length, seed }),
        2 => (place(), length).prop_map(|(offset, length)| Change::Discard { offset, length }),
        1 => place().prop_map(|size| Change::Resize(size.max(1))),
    ]
}

fn apply(volume: &mut Vec<u8>, change: &Change) {
    let size = volume.len();
    let part = |offset: usize, length: usize| offset.min(size)..(offset + length).min(size);
    match *change {
        // Seed 0 writes zeros.
        Change::Write { offset, length, seed } => {
            let pattern: Vec<u8> = (0..251_u8).map(|n| n.wrapping_mul(seed)).collect();
            for chunk in volume[part(offset, length)].chunks_mut(pattern.len()) {
                chunk.copy_from_slice(&pattern[..chunk.len()]);
            }
        }
        Change::Discard { offset, length } => volume[part(offset, length)].fill(0),
        Change::Resize(size) => volume.resize(size, 0),
    }
}

/// The stream between two contents, in blocks of `block` bytes, as a storage would send it.
fn stream(old: Option<&[u8]>, new: &[u8], block: usize, header: &Header) -> Vec<u8> {
    let mut writer = StreamWriter::new(Vec::new(), header).unwrap();
    let mut old_padded = old.unwrap_or_default().to_vec();
    old_padded.resize(new.len(), 0);
    let mut run: Option<(usize, usize, bool)> = None;
    let mut flush = |run: Option<(usize, usize, bool)>| match run {
        Some((start, end, true)) => writer.zero(start as u64, (end - start) as u64).unwrap(),
        Some((start, end, false)) => writer.write(start as u64, &new[start..end]).unwrap(),
        None => {}
    };
    for start in (0..new.len()).step_by(block) {
        let end = (start + block).min(new.len());
        if new[start..end] == old_padded[start..end] {
            continue;
        }
        let zero = new[start..end].iter().all(|byte| *byte == 0);
        match &mut run {
            Some((_, last, kind)) if *last == start && *kind == zero => *last = end,
            _ => flush(run.replace((start, end, zero))),
        }
    }
    flush(run);
    writer.finish().unwrap()
}

/// Applies a whole stream as `rbd import-diff` does: a zero record is a discard, and librbd drops
/// what of it is not aligned to 64 KiB.
fn import(volume: &mut Vec<u8>, stream: &[u8]) {
    let mut reader = StreamReader::new(stream).unwrap();
    volume.resize(usize::try_from(reader.read_header().unwrap().size).unwrap(), 0);
    loop {
        match reader.next_record().unwrap() {
            Record::Write { offset, length } => {
                assert!(length as usize <= MIB, "a write of {length} bytes");
                let offset = offset as usize;
                let target = &mut volume[offset..offset + length as usize];
                assert_eq!(reader.read_data(target).unwrap() as u64, length);
            }
            Record::Zero { offset, length } => {
                let (start, end) = (offset as usize, (offset + length) as usize);
                let aligned = start.next_multiple_of(64 << 10)..end - end % (64 << 10);
                if !aligned.is_empty() {
                    volume[aligned].fill(0);
                }
            }
            Record::End => break,
            record => panic!("{record:?} among the data"),
        }
    }
    reader.finish().unwrap();
}

fn decompress(path: &Path, compression: Compression) -> Vec<u8> {
    let file = fs::read(path).unwrap();
    let mut stream = Vec::new();
    let count = match compression {
        Compression::None => return file,
        Compression::Zstd(_) => zstd::Decoder::new(&file[..]).unwrap().read_to_end(&mut stream),
        Compression::Gzip => flate2::read::MultiGzDecoder::new(&file[..]).read_to_end(&mut stream),
        Compression::Bzip2 => bzip2::read::MultiBzDecoder::new(&file[..]).read_to_end(&mut stream),
    };
    count.unwrap();
    stream
}

fn write(path: &Path, header: &Header, stream: &[u8], options: ImageOptions) -> ImageSummary {
    let mut data = File::create(path).unwrap();
    let mut index = File::create(index_path(path)).unwrap();
    let files = ImageSink { data: &mut data, index: &mut index };
    write_image(&mut &stream[..], header, files, options, &|_| ()).unwrap()
}

/// Everything that must hold for the chain up to its last link.
fn check(links: &[ChainLink], model: &[u8], ranges: &[(usize, usize)]) {
    let chain = ChainReader::open(links).unwrap();
    assert_eq!(chain.size(), model.len() as u64);
    let mut content = vec![0; model.len()];
    let mut last = 0;
    let mut take = |offset: u64, bytes: &[u8]| -> Result<(), ImageError> {
        assert!(offset >= last);
        last = offset + bytes.len() as u64;
        content[offset as usize..last as usize].copy_from_slice(bytes);
        Ok(())
    };
    chain.for_each_block(2, &mut take).unwrap();
    assert!(content == model, "the blocks differ from the model");

    for (offset, length) in ranges {
        let mut buffer = vec![1; *length];
        chain.read_at(*offset as u64, &mut buffer).unwrap();
        let end = (offset + length).min(model.len());
        let inside = model.get(*offset..end).unwrap_or_default();
        assert!(buffer.starts_with(inside), "read_at {offset}+{length}");
        assert!(buffer[inside.len()..].iter().all(|byte| *byte == 0));
    }

    let mut flat = Vec::new();
    chain.write_stream(&mut flat, Some("end"), MIB as u64, 2).unwrap();
    let mut content = Vec::new();
    import(&mut content, &flat);
    assert!(content == model, "the flat stream differs from the model");
    links.iter().for_each(|link| assert_eq!(damage(link), []));
}

/// All that is damaged in an image.
fn damage(link: &ChainLink) -> Vec<Damage> {
    let image = ImageReader::open(&link.path).unwrap();
    let frames = image.verify(2, &mut |_| Ok(())).unwrap();
    frames.into_iter().chain(image.tail_damage()).collect()
}

fn compression() -> impl Strategy<Value = Compression> {
    prop_oneof![
        Just(Compression::None),
        Just(Compression::Zstd(1)),
        Just(Compression::Zstd(3)),
        Just(Compression::Gzip),
        Just(Compression::Bzip2),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_point_of_a_chain_equals_the_model(
        (size, fill) in (place(), 0..3_u8),
        points in vec((vec(change(), 0..6), compression()), 1..5),
        block in prop_oneof![3 => Just(512_usize), 3 => Just(4096), 1 => Just(64 << 10), 1 => Just(4 << 20)],
        zeros in prop_oneof![3 => Just(ZeroRuns::Aligned), 1 => Just(ZeroRuns::Written)],
        ranges in vec((place(), 0..200_000_usize), 8),
    ) {
        let directory = tempfile::tempdir().unwrap();
        // Only where something was can it show that zeros do not arrive.
        let mut model = vec![fill; size.max(1)];
        let mut before: Option<Vec<u8>> = None;
        let mut imported = Vec::new();
        let mut links: Vec<ChainLink> = Vec::new();
        for (number, (changes, compression)) in points.into_iter().enumerate() {
            changes.iter().for_each(|change| apply(&mut model, change));
            let (from, to) = (links.last().map(|link| link.to.clone()), format!("s{number}"));
            let header = Header { from: from.clone(), to: Some(to.clone()), size: model.len() as u64 };
            let source = stream(before.as_deref(), &model, block, &header);
            let path = directory.path().join(format!("{number}{}", compression.suffix()));
            let options = ImageOptions { compression, threads: 2, zeros };
            let summary = write(&path, &header, &source, options);

            let whole = decompress(&path, compression);
            prop_assert_eq!(whole.len() as u64, summary.stream_bytes);
            prop_assert_eq!(fs::metadata(&path).unwrap().len(), summary.stored_bytes);
            import(&mut imported, &whole);
            prop_assert!(imported == model, "stock tools restore something else");

            let reader = ImageReader::open(&path).unwrap();
            prop_assert!(!reader.index_was_rebuilt());
            prop_assert_eq!(&ImageIndex::scan(&path).unwrap(), reader.index());

            links.push(ChainLink { path, digest: summary.digest, from, to });
            check(&links, &model, &ranges);
            before = Some(model.clone());
        }
        for link in &links {
            fs::remove_file(index_path(&link.path)).unwrap();
        }
        check(&links, &model, &ranges);
    }

    #[test]
    fn a_damaged_image_never_passes_for_a_good_one(
        changes in vec(change(), 1..6),
        compression in compression(),
        position in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
        has_index in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        let mut model = vec![7; 3 * MIB + 100];
        changes.iter().for_each(|change| apply(&mut model, change));
        let header = Header { from: None, to: Some("s".into()), size: model.len() as u64 };
        let source = stream(None, &model, 4096, &header);
        let options = ImageOptions { compression, threads: 2, zeros: ZeroRuns::Aligned };
        let digest = write(&path, &header, &source, options).digest;
        if !has_index {
            fs::remove_file(index_path(&path)).unwrap();
        }
        let link = ChainLink { path: path.clone(), digest, from: None, to: "s".into() };
        let good = fs::read(&path).unwrap();
        let at = position.index(good.len());

        fs::write(&path, &good[..at]).unwrap();
        prop_assert!(is_noticed(&link, None), "cut at {at} of {}", good.len());

        let mut bad = good.clone();
        bad[at] ^= flip;
        fs::write(&path, &bad).unwrap();
        // A few bits of gzip and zstd headers mean nothing (a time, a reserved bit).
        prop_assert!(is_noticed(&link, Some(&model)), "flipped at {at} of {}", good.len());
    }

    #[test]
    fn the_stream_reader_takes_arbitrary_bytes(bytes in vec(any::<u8>(), 0..2000), banner: bool) {
        let mut input = if banner { b"rbd diff v1\n".to_vec() } else { Vec::new() };
        // Tags more often than chance would have them.
        input.extend(bytes.iter().map(|byte| match byte {
            0..=60 => b"ftswze"[usize::from(byte % 6)],
            61..=200 => 0,
            other => *other,
        }));
        read_all(&input);
    }

    #[test]
    fn the_stream_reader_takes_broken_streams(
        changes in vec(change(), 1..4),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut model = vec![0; 200_000];
        changes.iter().for_each(|change| apply(&mut model, change));
        let header = Header { from: Some("a".into()), to: Some("b".into()), size: model.len() as u64 };
        let mut input = stream(None, &model, 4096, &header);
        for (position, byte) in edits {
            let at = position.index(input.len().min(200));
            input[at] = byte;
        }
        read_all(&input);
    }

    #[test]
    fn the_index_reader_takes_arbitrary_bytes(bytes in vec(any::<u8>(), 0..500)) {
        let input = [b"ferry-idx\n\x01\x01".to_vec(), bytes].concat();
        prop_assert!(ImageIndex::read(&mut &input[..]).is_err());
    }
}

/// Whether the damage is noticed on the way of a restore: opening, or reading all blocks. With a
/// model, equal content will do, too.
fn is_noticed(link: &ChainLink, model: Option<&[u8]>) -> bool {
    let Ok(chain) = ChainReader::open(std::slice::from_ref(link)) else { return true };
    let found = !damage(link).is_empty();
    let mut content = vec![0; usize::try_from(chain.size()).unwrap()];
    let mut take = |offset: u64, bytes: &[u8]| -> Result<(), ImageError> {
        content[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    };
    let read = chain.for_each_block(1, &mut take);
    found || read.is_err() || model.is_some_and(|model| content == model)
}

/// Reads to the end or to the first error, and never more than there is.
fn read_all(input: &[u8]) {
    let Ok(mut reader) = StreamReader::new(input) else { return };
    let mut buffer = vec![0; 1000];
    while let Ok(record) = reader.next_record() {
        if record == Record::End {
            let _ = reader.finish();
            return;
        }
        while reader.read_data(&mut buffer).is_ok_and(|count| count > 0) {}
        assert!(reader.position() <= input.len() as u64);
    }
}

/// The streams in tests/data are what `rbd export-diff` of Ceph 16 wrote; see the README there.
#[test]
fn streams_of_rbd_are_read_and_survive_as_images() {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/streams/v1");
    let directory = tempfile::tempdir().unwrap();
    let (mut direct, mut through_images) = (Vec::new(), Vec::new());
    let mut from = None;
    for to in ["s1", "s2", "s3", "s4", "s5"] {
        let packed = fs::read(data.join(format!("{to}.diff.zst"))).unwrap();
        let source = zstd::decode_all(&packed[..]).unwrap();
        let header = StreamReader::new(&source[..]).unwrap().read_header().unwrap();
        assert_eq!((header.from.as_deref(), header.to.as_deref()), (from, Some(to)));
        let path = directory.path().join(to);
        let compression = Compression::Zstd(1);
        let options = ImageOptions { compression, threads: 1, zeros: ZeroRuns::Aligned };
        write(&path, &header, &source, options);
        apply_exactly(&mut direct, &source);
        import(&mut through_images, &decompress(&path, compression));
        assert!(through_images == direct, "{to}");
        let expected = fs::read(data.join(format!("{to}.raw.zst"))).unwrap();
        assert!(direct == zstd::decode_all(&expected[..]).unwrap(), "{to}");
        from = Some(to);
    }
}

/// Applies a stream with zero records that are exact.
fn apply_exactly(volume: &mut Vec<u8>, stream: &[u8]) {
    let mut reader = StreamReader::new(stream).unwrap();
    volume.resize(usize::try_from(reader.read_header().unwrap().size).unwrap(), 0);
    loop {
        match reader.next_record().unwrap() {
            Record::Write { offset, length } => {
                let offset = offset as usize;
                reader.read_data(&mut volume[offset..offset + length as usize]).unwrap();
            }
            Record::Zero { offset, length } => {
                volume[offset as usize..(offset + length) as usize].fill(0);
            }
            _ => return,
        }
    }
}
