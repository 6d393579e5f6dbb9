//! Every field of every structure, broken one at a time in a file whose digest is right again: the structure itself must
//! give it away.

mod support;

use etcd_snapshot::{FindingKind, FindingKind as Kind, NotASnapshot, VerifyError};
use support::builder::{
    BRANCH, Image, Item, LARGE, LEAF, NO_FREELIST, PAGE, ROOT, bucket, checksum, deletion, inline, put, row, row_key,
    sample, sample_buckets, seal,
};
use support::{check, findings, kinds};

/// Expects exactly these kinds of damage after a change to the sample.
fn broken(what: &str, expected: &[FindingKind], change: impl FnOnce(&mut Image)) {
    let mut image = sample();
    change(&mut image);
    assert_eq!(kinds(&image.file()), expected, "{what}");
}

#[test]
fn the_sample_is_sound() {
    let report = check(&sample().file()).expect("a sound file");
    assert_eq!((report.items, report.live_keys, report.revision, report.free_pages), (8, 6, 8, 0));
    assert_eq!((report.total_key, report.writer.as_str(), report.consistent_index), (8, "3.4", Some(7)));
}

/// Values and user keys longer than any buffer go through in pieces.
#[test]
fn long_values_and_user_keys() {
    let long = |revision, last: u8, numbers| {
        let key = [&[b'k'; 99_999][..], &[last]].concat();
        (0, row_key(revision), put(&key, numbers, &[0x20; 150_000], 1 << 40))
    };
    let items = [long(2, b'a', [2, 2, 1]), long(3, b'b', [3, 3, 1]), long(4, b'a', [2, 4, 2])];
    let mut image = Image::new(800);
    image.leaf(ROOT, &[bucket("key", 3)]);
    image.leaf(3, &items);
    let report = check(&image.file()).expect("a sound file");
    assert_eq!((report.items, report.live_keys, report.revision), (3, 2, 4));
    let hashed: Vec<u8> = items.iter().flat_map(|(_, key, value)| [&key[..], value].concat()).collect();
    assert_eq!(report.hash, crc32c::crc32c(&[b"key", &hashed[..]].concat()));
}

#[test]
fn page_sizes() {
    for page_size in (10..=16).map(|power| 1 << power) {
        // Two leaves below a branch page, one of them longer than a page and longer than any buffer.
        let mut image = Image::with_page_size(10 + 200_000 / page_size as u64, page_size);
        image.leaf(ROOT, &[bucket("key", BRANCH), sample_buckets().pop().expect("bucket meta")]);
        image.branch(BRANCH, &[(row_key(2), LEAF), (row_key(4), LEAF + 1)]);
        image.leaf(LEAF, &[row(2, "a", 3), row(3, "b", 600)]);
        image.leaf(LEAF + 1, &[row(4, "c", 200_000), row(5, "d", 1)]);
        let report = check(&image.file()).unwrap_or_else(|error| panic!("{page_size}: {error}"));
        assert_eq!((report.page_size as usize, report.live_keys, report.revision), (page_size, 4, 5));
        let copy = [image.data(), vec![0; 512]].concat();
        assert_eq!(check(&copy).expect("a copy").hash_kv, report.hash_kv);
        // The second meta page is found where each size puts it.
        let mut torn = image.data();
        torn[16] ^= 1;
        assert_eq!(kinds(&seal(torn)), [Kind::Meta], "{page_size}");
        image.put(LEAF + 1, 0, &[0xff]);
        assert_eq!(kinds(&image.file()), [Kind::PageHeader], "{page_size}");
    }
}

#[test]
fn page_headers() {
    for (field, at, bytes) in [
        ("id", 0, &9_u64.to_le_bytes()[..]),
        ("no flag", 8, &[0, 0]),
        ("two flags", 8, &[3, 0]),
        ("high flag", 8, &[2, 1]),
        ("meta", 8, &[4, 0]),
        ("freelist", 8, &[0x10, 0]),
        ("count beyond the page", 10, &[100, 0]),
        ("count of 65535", 10, &[0xff, 0xff]),
        ("overflow beyond the file", 12, &[6, 0, 0, 0]),
        ("overflow of 4 G pages", 12, &[0xff; 4]),
    ] {
        for page in [ROOT, BRANCH, LEAF] {
            let mut image = sample();
            image.put(page, at, bytes);
            let found = findings(&image.file());
            assert_eq!((found[0].kind, found[0].page), (Kind::PageHeader, Some(page)), "{field} of {page}: {found:?}");
        }
    }
    broken("overflow into a page in use", &[Kind::PageReachedTwice], |image| image.put(LEAF, 12, &[1]));
    broken("empty leaf", &[Kind::EmptyLeaf], |image| image.put(LEAF, 10, &[0, 0]));
    broken("empty branch", &[Kind::BranchChildren], |image| image.put(BRANCH, 10, &[0, 0]));
    broken("leaf for branch", &[Kind::ElementBounds], |image| image.put(LEAF, 8, &[1, 0]));
    let mut empty_bucket = sample();
    empty_bucket.leaf(LARGE, &[]);
    let mut buckets = sample_buckets();
    buckets.insert(2, bucket("lease", LARGE));
    empty_bucket.leaf(ROOT, &buckets);
    empty_bucket.branch(BRANCH, &[(row_key(2), LEAF), (row_key(5), LEAF + 1)]);
    assert_eq!(check(&empty_bucket.file()).expect("an empty root is fine").free_pages, 1);
}

#[test]
fn leaf_elements() {
    // The second element of a leaf: flags, pos, key size, value size.
    let element = 16 + 16;
    for (field, at, value, expected) in [
        ("position in the table", 4, 0_u32, Kind::ElementBounds),
        ("position in another element", 4, 16, Kind::ElementBounds),
        ("position beyond the page", 4, 5000, Kind::ElementBounds),
        ("position of 4 G", 4, u32::MAX, Kind::ElementBounds),
        ("no key", 8, 0, Kind::KeySize),
        ("key beyond the page", 8, 2000, Kind::ElementBounds),
        ("key of 4 G", 8, u32::MAX, Kind::ElementBounds),
        ("value beyond the page", 12, 1000, Kind::ElementBounds),
        ("value of 4 G", 12, u32::MAX, Kind::ElementBounds),
        ("bucket", 0, 1, Kind::ElementFlags),
        ("unknown flag", 0, 2, Kind::ElementFlags),
    ] {
        let mut image = sample();
        image.put(LEAF, element + at, &value.to_le_bytes());
        let found = findings(&image.file());
        let at = LEAF * PAGE as u64 + element as u64;
        assert_eq!((found[0].kind, found[0].offset), (expected, Some(at)), "{field}: {found:?}");
        assert_eq!((found[0].page, found[0].bucket.as_deref()), (Some(LEAF), Some("key")), "{field}");
    }
    broken("value into the next element", &[Kind::Record, Kind::ElementBounds], |image| {
        image.put(LEAF, element + 12, &[10])
    });
    let mut long = Image::new(44);
    long.leaf(ROOT, &[bucket("key", 3)]);
    long.leaf(3, &[row(2, "a", 0), (0, vec![0xff; 32769], Vec::new())]);
    assert_eq!(kinds(&long.file()), [Kind::KeySize]);
    long.leaf(3, &[row(2, "a", 0), (0, vec![0xff; 32768], Vec::new())]);
    assert_eq!(kinds(&long.file()), [Kind::Record]);
}

/// Each field of each element of each page: at its highest, nothing but a typed finding in that page comes of it.
#[test]
fn every_element() {
    for (page, elements) in [(ROOT, 3), (BRANCH, 3), (LEAF, 3), (LEAF + 1, 3), (LARGE, 1)] {
        for field in (0..elements * 4).map(|word| 16 + 4 * word) {
            let mut image = sample();
            image.put(page, field, &[0xff; 4]);
            let found = findings(&image.file());
            let at = page * PAGE as u64 + field as u64;
            let first = found.first().and_then(|finding| finding.offset).expect("a place");
            assert!(first <= at && at < first + 16, "{page} {field}: {found:?}");
        }
    }
}

#[test]
fn branch_elements() {
    let child = |index: usize| 16 + 16 * index + 8;
    for (what, target) in [("itself", BRANCH), ("the page of buckets", ROOT), ("a sibling", LEAF), ("an inner page", 7)]
    {
        broken(what, &[if target == 7 { Kind::PageHeader } else { Kind::PageReachedTwice }], |image| {
            image.put(BRANCH, child(1), &target.to_le_bytes());
            if target == 7 {
                image.branch(BRANCH, &[(row_key(2), LEAF), (row_key(5), 7)]);
            }
        });
    }
    for target in [0, 1, 8, 1 << 60, u64::MAX] {
        broken("no such page", &[Kind::PageReference], |image| image.put(BRANCH, child(2), &target.to_le_bytes()));
    }
    broken("key below its child's first", &[Kind::BranchKey], |image| {
        image.branch(BRANCH, &[(row_key(1), LEAF), (row_key(5), LEAF + 1), (row_key(8), LARGE)]);
    });
    broken("key above its child's first", &[Kind::BranchKey], |image| {
        image.branch(BRANCH, &[(row_key(2), LEAF), (row_key(6), LEAF + 1), (row_key(8), LARGE)]);
    });
    broken("children the wrong way round", &[Kind::KeyOrder], |image| {
        image.branch(BRANCH, &[(row_key(5), LEAF + 1), (row_key(2), LEAF), (row_key(8), LARGE)]);
    });
    broken("position beyond the page", &[Kind::ElementBounds], |image| image.put(BRANCH, 16, &[0xff; 4]));
    broken("no key", &[Kind::KeySize], |image| image.put(BRANCH, 16 + 4, &[0; 4]));
}

#[test]
fn cycles() {
    // Two branch pages that lead to each other, a bucket that starts where all buckets do, and one in another's middle.
    broken("branch to branch", &[Kind::PageReachedTwice, Kind::BranchKey], |image| {
        image.branch(LEAF, &[(row_key(2), BRANCH), (row_key(3), LEAF + 1)]);
    });
    for (page, kind) in [(ROOT, Kind::PageReachedTwice), (LEAF, Kind::PageReachedTwice), (1, Kind::PageReference)] {
        let mut image = sample();
        let mut buckets = sample_buckets();
        buckets.push(bucket("zz", page));
        image.leaf(ROOT, &buckets);
        assert_eq!(kinds(&image.file()), [kind], "{page}");
    }
    // A chain of branch pages that ends where it began.
    let mut image = Image::new(20);
    image.leaf(ROOT, &[bucket("key", 3)]);
    (3..20).for_each(|page| image.branch(page, &[(row_key(2), if page == 19 { 3 } else { page + 1 })]));
    assert_eq!(kinds(&image.file()), [Kind::PageReachedTwice]);
}

#[test]
fn keys_rise() {
    broken("twice the same", &[Kind::KeyOrder], |image| {
        image.leaf(LEAF, &[row(2, "a", 3), row(2, "b", 0), row(4, "a", 7)]);
    });
    broken("twice the same, in two pages", &[Kind::KeyOrder], |image| {
        image.leaf(LEAF + 1, &[row(4, "a", 7), row(6, "d", 1)]);
        image.branch(BRANCH, &[(row_key(2), LEAF), (row_key(4), LEAF + 1), (row_key(8), LARGE)]);
    });
    broken("twice the same bucket", &[Kind::KeyOrder], |image| {
        let mut buckets = sample_buckets();
        buckets.insert(0, inline("alarm", &[]));
        image.leaf(ROOT, &buckets);
    });
    broken("swapped", &[Kind::KeyOrder], |image| {
        image.leaf(LEAF, &[row(2, "a", 3), row(4, "b", 0), row(3, "a", 7)]);
    });
    broken("above the next page's first", &[Kind::KeyOrder], |image| {
        image.leaf(LEAF, &[row(2, "a", 3), row(3, "b", 0), row(5, "a", 7)]);
    });
    broken("buckets", &[Kind::KeyOrder], |image| {
        let mut buckets = sample_buckets();
        buckets.swap(0, 2);
        image.leaf(ROOT, &buckets);
    });
}

#[test]
fn trees_have_a_depth() {
    let mut image = Image::new(80);
    image.leaf(ROOT, &[bucket("key", 3)]);
    for page in 3..79 {
        image.branch(page, &[(row_key(2), page + 1)]);
    }
    image.leaf(79, &[row(2, "a", 0)]);
    assert_eq!(kinds(&image.file()), [Kind::TreeDepth]);
}

#[test]
fn buckets() {
    let with = |index: usize, item: Item| {
        let mut image = sample();
        let mut buckets = sample_buckets();
        buckets[index] = item;
        image.leaf(ROOT, &buckets);
        kinds(&image.file())
    };
    let changed = |at: usize, byte: u8| {
        let mut item = inline("alarm", &[]);
        item.2[at] = byte;
        with(0, item)
    };
    assert_eq!(with(0, (0, b"alarm".to_vec(), vec![0; 32])), [Kind::ElementFlags]);
    assert_eq!(with(0, (1, b"alarm".to_vec(), vec![0; 15])), [Kind::Bucket]);
    assert_eq!(with(0, (1, b"alarm".to_vec(), vec![0; 16])), [Kind::Bucket]);
    assert_eq!(with(0, bucket("alarm", 1)), [Kind::PageReference]);
    assert_eq!(with(0, bucket("alarm", BRANCH)), [Kind::Record, Kind::PageReachedTwice]);
    assert_eq!(with(1, bucket("kez", BRANCH)), [Kind::MissingBucket]);
    for (at, byte) in [(0, 1), (16, 1), (24, 1), (26, 1), (27, 0xff), (28, 1)] {
        assert_eq!(changed(at, byte), [Kind::Bucket], "byte {at}");
    }
    let mut long = inline("alarm", &[(0, b"k".to_vec(), b"v".to_vec())]);
    long.2[32 + 12] = 2;
    assert_eq!(with(0, long), [Kind::ElementBounds]);
}

#[test]
fn records() {
    let meta = |key: &str, value: &[u8]| {
        let mut image = sample();
        let mut buckets = sample_buckets();
        buckets[2] = inline("meta", &[(0, key.into(), value.to_vec())]);
        image.leaf(ROOT, &buckets);
        check(&image.file())
    };
    for (key, value) in [
        ("consistent_index", &[0; 7][..]),
        ("consistent_index", &[0; 9]),
        ("storageVersion", b""),
        ("storageVersion", b"\xff"),
        ("scheduledCompactRev", b"1"),
    ] {
        assert!(
            matches!(meta(key, value), Err(VerifyError::Damaged(damage)) if damage.findings[0].kind == Kind::Record)
        );
    }
    let newer = meta("storageVersion", b"3.6.0").expect("a sound file");
    assert_eq!((newer.total_key, newer.writer.as_str(), newer.version.as_str()), (6, "3.6", "3.6.0"));
    for bad in [
        (0, row_key(3)[..16].to_vec(), row(3, "b", 0).2),
        (0, [row_key(3), b"x".to_vec()].concat(), row(3, "b", 0).2),
        (0, row_key(3), vec![0x0a, 0x7f]),
        (0, row_key(3), vec![0x10]),
    ] {
        broken("row", &[Kind::Record], |image| image.leaf(LEAF, &[row(2, "a", 3), bad.clone(), row(4, "a", 7)]));
    }
    let mut image = sample();
    image.leaf(LEAF, &[row(2, "a", 3), deletion(3, "a"), (0, row_key(4), Vec::new())]);
    let report = check(&image.file()).expect("a deletion and the mark of a revision bump");
    assert_eq!((report.items, report.live_keys), (8, 5));
}

#[test]
fn free_pages() {
    let listed = |ids: &[u64]| {
        let mut image = sample();
        image.bytes.resize(12 * PAGE, 0);
        image.free(8, ids);
        image
    };
    let report = check(&listed(&[9, 10, 11]).file()).expect("a sound file");
    assert_eq!(report.free_pages, 3);
    assert_eq!(kinds(&listed(&[9, 11]).file()), [Kind::LostPage]);
    for ids in [&[10, 9, 11][..], &[9, 9, 10, 11], &[1, 9, 10, 11], &[4, 9, 10, 11], &[8, 9, 10, 11], &[9, 10, 11, 12]]
    {
        assert_eq!(kinds(&listed(ids).file()), [Kind::Freelist], "{ids:?}");
    }
    let mut image = listed(&[9, 10, 11]);
    image.put(8, 10, &[200, 0]);
    assert_eq!(kinds(&image.file()), [Kind::Freelist]);
    image.put(8, 8, &[2, 0, 3, 0]);
    assert_eq!(kinds(&image.file()), [Kind::PageHeader]);
    let mut long = listed(&[3, 9, 10, 11]);
    long.put(8, 10, &[0xff, 0xff]);
    assert_eq!(check(&long.file()).expect("the count may stand first").free_pages, 3);
    long.put(8, 16, &[0xff; 8]);
    assert_eq!(kinds(&long.file()), [Kind::Freelist]);
    let mut shared = sample();
    shared.freelist = LEAF;
    assert_eq!(kinds(&shared.file()), [Kind::PageReachedTwice]);
}

/// From 65535 pages on, the number of free pages stands in another place.
#[test]
fn many_free_pages() {
    let listed = |free: u64| {
        let mut image = sample();
        let ids_and_count = free as usize + usize::from(free >= 0xffff);
        let list_pages = (16 + 8 * ids_and_count).div_ceil(PAGE) as u64;
        let first = 8 + list_pages;
        image.bytes.resize((first + free) as usize * PAGE, 0);
        let ids: Vec<u64> = (first..first + free).collect();
        if free < 0xffff {
            image.free(8, &ids);
        } else {
            image.free(8, &[&[free], &ids[..]].concat());
            image.put(8, 10, &[0xff, 0xff]);
        }
        image
    };
    for free in [65534, 65535, 65540] {
        assert_eq!(check(&listed(free).file()).expect("a sound file").free_pages, free);
    }
    let mut wrong = listed(65535);
    wrong.put(8, 16, &65534_u64.to_le_bytes());
    assert_eq!(kinds(&wrong.file()), [Kind::LostPage]);
    wrong.put(8, 16, &65536_u64.to_le_bytes());
    assert_eq!(kinds(&wrong.file()), [Kind::Freelist]);
    wrong.put(8, 10, &[0xfe, 0xff]);
    assert_eq!(kinds(&wrong.file()), [Kind::Freelist, Kind::LostPage]);
}

#[test]
fn meta_pages() {
    let sum = |image: &Image, index: u64, at: usize, bytes: &[u8]| {
        let mut meta = image.meta(index, image.txid - index);
        meta[at..at + bytes.len()].copy_from_slice(bytes);
        checksum(&mut meta);
        meta
    };
    // One page broken: the other is in force, and the break is named.
    for (field, at) in [("magic", 16), ("version", 20), ("page size", 24), ("root", 32), ("txid", 64), ("checksum", 72)]
    {
        for page in [0, 1] {
            let mut data = sample().data();
            data[page * PAGE + at] ^= 0x40;
            let found = findings(&seal(data));
            assert_eq!((found[0].kind, found[0].page), (Kind::Meta, Some(page as u64)), "{field}");
        }
    }
    // Both with a right checksum but useless.
    for (field, at, value) in [
        ("root", 32, 8_u64),
        ("root", 32, 1),
        ("root", 32, u64::MAX),
        ("freelist", 48, 8),
        ("freelist", 48, 0),
        ("freelist", 48, NO_FREELIST - 1),
    ] {
        let image = sample();
        let mut data = image.data();
        for page in [0, 1] {
            let meta = sum(&image, page, at, &value.to_le_bytes());
            data[page as usize * PAGE..][..80].copy_from_slice(&meta);
        }
        assert_eq!(kinds(&seal(data)), [Kind::Meta], "{field} {value}");
    }
    for pages in [9, 1 << 40, u64::MAX] {
        let image = sample();
        let mut data = image.data();
        data[..80].copy_from_slice(&sum(&image, 0, 56, &pages.to_le_bytes()));
        assert!(matches!(check(&seal(data)), Err(VerifyError::Truncated { .. })), "{pages} pages");
    }
    let image = sample();
    let mut data = image.data();
    data[PAGE..PAGE + 80].copy_from_slice(&sum(&image, 1, 32, &3_u64.to_le_bytes()));
    assert_eq!(kinds(&seal(data)), [Kind::MetaPair]);
    for (at, byte) in [(0, 7), (8, 2), (12, 1)] {
        let mut data = image.data();
        data[at] = byte;
        assert_eq!(kinds(&seal(data)), [Kind::PageHeader], "byte {at}");
    }
}

#[test]
fn other_files() {
    let what = |bytes: &[u8]| match check(bytes) {
        Err(VerifyError::NotASnapshot(what)) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(b""), NotASnapshot::Empty);
    assert_eq!(what(&sample().file()[..79]), NotASnapshot::TooShort { length: 79 });
    assert_eq!(what(&[0; 4096]), NotASnapshot::NoDatabase);
    assert_eq!(what(&[b'x'; 100_000]), NotASnapshot::NoDatabase);
    assert_eq!(
        what(&zstd::encode_all(&[7; 9][..], 1).map(|start| [start, vec![0; 99]].concat()).expect("a vector")),
        NotASnapshot::Compressed("zstd")
    );
    assert_eq!(what(&[&[0x1f, 0x8b][..], &[0; 99]].concat()), NotASnapshot::Compressed("gzip"));
    let mut swapped = sample().file();
    for page in [0, 1] {
        swapped[page * PAGE + 16..page * PAGE + 20].reverse();
    }
    assert_eq!(what(&swapped), NotASnapshot::BigEndian);
    let mut torn = sample().file();
    torn[40] ^= 1;
    torn[PAGE + 40] ^= 1;
    assert_eq!(what(&torn), NotASnapshot::NoValidMeta);
}

#[test]
fn digests_of_something_else() {
    let data = sample().data();
    for digest in [
        vec![0; 32],
        seal(Vec::new()),
        seal(data[PAGE..].to_vec()).split_off(data.len() - PAGE),
        seal(sample().file()).split_off(data.len() + 32),
        seal(data.clone()).split_off(data.len()).into_iter().rev().collect(),
        // What a shell's tool prints, cut to fit.
        b"c3ab8ff13720e8ad9047dd39466b3c89".to_vec(),
    ] {
        let file = [data.clone(), digest].concat();
        let Err(VerifyError::Damaged(damage)) = check(&file) else { panic!("a wrong digest was accepted") };
        assert_eq!(damage.findings.iter().map(|finding| finding.kind).collect::<Vec<_>>(), [Kind::DigestMismatch]);
        assert!(damage.report.is_some());
    }
}

#[test]
fn findings_have_a_bound() {
    let mut image = Image::new(4);
    image.leaf(ROOT, &(0..40).map(|_| bucket("key", 1)).collect::<Vec<_>>());
    let options = etcd_snapshot::Options { max_findings: 5, ..Default::default() };
    let Err(VerifyError::Damaged(damage)) = etcd_snapshot::verify(&image.file(), &options, &|_| {}) else {
        panic!("damage was accepted")
    };
    // A wrong reference each, and all names but the first are not above the one before.
    assert_eq!((damage.findings.len(), damage.omitted), (5, 40 + 39 - 5));
    assert_eq!(damage.to_string().split(" (and ").nth(1), Some("78 more)"));
}
