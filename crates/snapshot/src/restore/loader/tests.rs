use proptest::prelude::*;

use super::*;
use crate::Report;
use crate::bytes::{le_u16, le_u32, le_u64};
use crate::restore::tests::{Items, contents};

/// A bucket that nobody looks into: etcd has none of this name.
const NAME: &str = "zz";

/// The bytes of a database with these items, and the others of etcd's buckets empty.
fn load(page_size: u32, items: &Items) -> Vec<u8> {
    let mut file = tempfile::tempfile().expect("a file");
    let mut loader = Loader::new(file.try_clone().expect("another handle"), page_size).expect("a loader");
    for name in
        ["alarm", "auth", "authRoles", "authUsers", "cluster", "key", "lease", "members", "members_removed", "meta"]
    {
        let mut bucket = Bucket::default();
        if name == "meta" {
            loader.put(&mut bucket, b"consistent_index", &1_u64.to_be_bytes()).expect("room");
        }
        loader.end(name, bucket).expect("room");
    }
    let mut bucket = Bucket::default();
    for (key, value) in items {
        loader.item(&mut bucket, key, value.len() as u64).expect("room");
        // Pieces as a walk gives them.
        value.chunks(1 << 16).for_each(|piece| loader.value(&mut bucket, piece).expect("room"));
    }
    loader.end(NAME, bucket).expect("room");
    loader.finish().expect("room");
    let mut bytes = Vec::new();
    io::Seek::rewind(&mut file).and_then(|()| io::Read::read_to_end(&mut file, &mut bytes)).expect("a readable file");
    bytes
}

/// Writes a database, has it checked, and compares what is in it.
fn round_trip(page_size: u32, items: &Items) -> (Report, Vec<u8>) {
    let bytes = load(page_size, items);
    let (report, buckets) = contents(&bytes);
    assert_eq!((report.page_size, report.free_pages), (page_size, 0));
    assert_eq!(report.total_size, bytes.len() as u64);
    assert_eq!(buckets.len(), 11);
    assert!(buckets.get(NAME) == Some(items), "other items in pages of {page_size}");
    check_branches(&bytes, page_size as usize);
    (report, bytes)
}

/// What bbolt's own check does not see: a branch page with a single child. Pages that go on are skipped by their overflow.
fn check_branches(bytes: &[u8], page_size: usize) {
    let mut id = 2;
    while id * page_size < bytes.len() {
        let page = &bytes[id * page_size..];
        let (flags, count) = (le_u16(page, 8).expect("a header"), le_u16(page, 10).expect("a header"));
        assert!(flags != 0x01 || count >= 2, "page {id} has {count} children");
        id += 1 + le_u32(page, 12).expect("a header") as usize;
    }
}

/// Rows as `key` has them, each with a value of so many bytes.
fn rows(sizes: impl IntoIterator<Item = usize>) -> Items {
    let row = |(revision, size): (u64, usize)| {
        (
            [&revision.to_be_bytes()[..], b"_", &[0; 8]].concat(),
            (0..size).map(|at| (at as u64 * 7 + revision) as u8).collect(),
        )
    };
    (2..).zip(sizes).map(row).collect()
}

const PAGE_SIZES: [u32; 4] = [1024, 4096, 16384, 65536];

#[test]
fn no_items_and_one() {
    for page_size in PAGE_SIZES {
        round_trip(page_size, &rows([]));
        for size in [0, 1, page_size as usize / 4, page_size as usize, 100_000] {
            round_trip(page_size, &rows([size]));
        }
    }
}

/// An item that fills a page has this many bytes less than the page: header, element, key.
const AROUND_ITEM: usize = 16 + 16 + 17;

#[test]
fn items_that_just_fit_a_page_and_just_do_not() {
    for page_size in PAGE_SIZES {
        for size in page_size as usize - AROUND_ITEM - 1..=page_size as usize - AROUND_ITEM + 1 {
            for count in 1..=9 {
                round_trip(page_size, &rows(vec![size; count]));
            }
            let (alone, _) = round_trip(page_size, &rows([size]));
            let pages = if size + AROUND_ITEM > page_size as usize { 2 } else { 1 };
            // Meta pages, the item's, the list of buckets, the freelist.
            assert_eq!(alone.pages, 2 + pages + 2, "{size} of {page_size}");
        }
    }
}

#[test]
fn small_buckets_are_inline() {
    for page_size in PAGE_SIZES {
        let limit = page_size as usize / 4;
        for (size, inline) in
            [(limit - AROUND_ITEM - 1, true), (limit - AROUND_ITEM, true), (limit - AROUND_ITEM + 1, false)]
        {
            let (report, _) = round_trip(page_size, &rows([size]));
            assert_eq!(report.pages, if inline { 4 } else { 5 }, "{size} of {page_size}");
        }
    }
}

/// Each number of leaves near those that fill a branch page, on the first and on the second level.
#[test]
fn every_branch_page_has_two_children() {
    let (page_size, leaf) = (1024_usize, 1024 - AROUND_ITEM);
    let fan_out = (page_size - 16) / (16 + 17);
    for leaves in (1..=2 * fan_out + 3).chain(fan_out * fan_out - 2 * fan_out..=fan_out * fan_out + 2) {
        if leaves > 2 * fan_out + 3 && leaves % 3 != 0 && !(leaves % (fan_out - 1)).is_multiple_of(fan_out - 2) {
            continue;
        }
        round_trip(page_size as u32, &rows(vec![leaf; leaves]));
    }
}

/// Keys so long that a branch page holds two only beyond its end.
#[test]
fn long_keys() {
    for page_size in [1024, 4096] {
        for count in [1, 2, 3, 4, 7, 50] {
            let key = |index: u16| [&index.to_be_bytes()[..], &vec![b'k'; 32766]].concat();
            round_trip(page_size, &(0..count).map(|index| (key(index), vec![1])).collect());
        }
    }
}

#[test]
fn huge_values_among_small_ones() {
    let small = 50;
    let sizes =
        [small, LEAF_BYTES as usize, small, LEAF_BYTES as usize - 49, LEAF_BYTES as usize - 48, 9_000_001, 0, small];
    round_trip(4096, &rows(sizes));
    round_trip(1024, &rows([9_000_001; 3]));
}

/// bbolt would put two such items at least into the pages of one leaf; so must we, or the file grows.
#[test]
fn pages_are_filled() {
    for (size, count, most) in [(2048, 600, 410), (4200, 400, 510), (100, 10_000, 355), (1_000_000, 8, 1960)] {
        let (report, _) = round_trip(4096, &rows(vec![size; count]));
        assert!(report.pages < most, "{count} values of {size} bytes take {} pages", report.pages);
    }
}

#[test]
fn more_tiny_items_than_a_page_can_count() {
    let items: Items = (0..140_000_u32).map(|index| (index.to_be_bytes()[1..].to_vec(), Vec::new())).collect();
    round_trip(1 << 24, &items);
}

#[test]
fn meta_pages_are_those_of_two_commits() {
    let (_, bytes) = round_trip(4096, &rows([10]));
    for id in 0..2 {
        let txid = le_u64(&bytes, id * 4096 + 64).expect("a meta page");
        assert_eq!(txid % 2, id as u64);
    }
    assert_eq!(bytes[32..64], bytes[4096 + 32..4096 + 64]);
}

#[test]
fn sizes_that_do_not_add_up() {
    let mut loader = Loader::new(tempfile::tempfile().expect("a file"), 4096).expect("a loader");
    let mut bucket = Bucket::default();
    loader.item(&mut bucket, b"a", 3).expect("room");
    assert!(loader.value(&mut bucket, b"four").is_err());
    let mut bucket = Bucket::default();
    loader.item(&mut bucket, b"a", 3).expect("room");
    assert!(loader.item(&mut bucket, b"b", 3).is_err());
    assert!(loader.end(NAME, bucket).is_err());
    assert!(loader.item(&mut Bucket::default(), b"a", 1 << 31).is_err());
}

#[test]
fn a_full_disk_is_an_error() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else { return };
    let mut loader = Loader::new(full, 4096).expect("a loader");
    let mut bucket = Bucket::default();
    let written = rows(vec![4_000; 20_000]).iter().try_for_each(|(key, value)| loader.put(&mut bucket, key, value));
    assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_sizes(
        page_size in prop::sample::select(&PAGE_SIZES[..]),
        sizes in prop::collection::vec(prop_oneof![
            8 => 0..300_usize, 4 => 300..5_000_usize, 1 => 5_000..70_000_usize,
        ], 0..400),
    ) {
        round_trip(page_size, &rows(sizes));
    }

    #[test]
    fn any_keys(keys in prop::collection::btree_set(prop::collection::vec(any::<u8>(), 1..700), 0..300)) {
        round_trip(1024, &keys.into_iter().map(|key| (key, vec![7; 3])).collect());
    }
}
