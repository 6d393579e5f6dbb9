//! What is sealed is opened again, by us and by the stock tools; nothing that was cut or changed is.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use etcd_store::{Encryption, Identities, OpenError, Recipients, Sealer, open_sealed};
use proptest::prelude::*;

const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
const SECRET: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33";

fn identities() -> Identities {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), SECRET).unwrap();
    Identities::read(&[file.path()], |_| None).unwrap()
}

fn encryption(encrypted: bool) -> Encryption {
    match encrypted {
        true => Encryption::Recipients(Recipients::parse::<_, &Path>(&[RECIPIENT], &[]).unwrap()),
        false => Encryption::Off,
    }
}

fn seal(plain: &[u8], encrypted: bool) -> Vec<u8> {
    let mut sealer = Sealer::new(Vec::new(), &encryption(encrypted)).unwrap();
    sealer.write_all(plain).unwrap();
    sealer.flush().unwrap();
    sealer.finish().unwrap()
}

fn open(sealed: &[u8], encrypted: bool) -> io::Result<Vec<u8>> {
    let mut opened = open_sealed(sealed, encrypted, &identities())?;
    let mut plain = Vec::new();
    opened.read_to_end(&mut plain)?;
    // The end stays the end.
    assert_eq!(opened.read(&mut [0])?, 0);
    Ok(plain)
}

fn damage(error: &io::Error) -> OpenError {
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    OpenError::of(error).unwrap_or_else(|| panic!("{error:?}")).clone()
}

/// Compresses badly, so that there are several pieces of 64 KiB.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33).to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

/// Runs a stock tool with an input, and gives what it prints.
fn tool(program: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}: apt-get install {program}"));
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A tool that refuses its input does not read all of it.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_sealed_comes_back(plain in proptest::collection::vec(any::<u8>(), 0..5000), repeat in 1_usize..60, encrypted: bool) {
        let plain = plain.repeat(repeat);
        let sealed = seal(&plain, encrypted);
        prop_assert_eq!(open(&sealed, encrypted).unwrap(), plain);
    }

    #[test]
    fn no_change_at_any_place_is_taken(length in 0_usize..300_000, place in any::<prop::sample::Index>(), flip in 1_u8.., encrypted: bool) {
        let plain = noise(length);
        let mut sealed = seal(&plain, encrypted);
        let at = place.index(sealed.len());
        sealed[at] ^= flip;
        match open(&sealed, encrypted) {
            Err(error) => { damage(&error); }
            // A header of zstd has bits that say nothing of the content.
            Ok(same) => prop_assert!(!encrypted && same == plain, "byte {} of {}", at, sealed.len()),
        }
    }

    #[test]
    fn no_cut_at_any_place_is_taken(length in 0_usize..300_000, place in any::<prop::sample::Index>(), encrypted: bool) {
        let sealed = seal(&noise(length), encrypted);
        let error = open(&sealed[..place.index(sealed.len())], encrypted).unwrap_err();
        damage(&error);
    }
}

#[test]
fn every_byte_and_every_cut_of_a_small_backup_counts() {
    let plain = b"kubernetes".repeat(40);
    let sealed = seal(&plain, true);
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 4;
        damage(&open(&changed, true).expect_err(&format!("byte {at}")));
        damage(&open(&sealed[..at], true).expect_err(&format!("cut at {at}")));
    }
}

#[test]
fn cuts_between_the_pieces_of_the_encryption_are_noticed() {
    let sealed = seal(&noise(300_000), true);
    let header = sealed.windows(4).position(|window| window == b"\n---").unwrap();
    let payload = header + sealed[header + 1..].iter().position(|byte| *byte == b'\n').unwrap() + 2 + 16;
    for piece in 0..4 {
        let error = open(&sealed[..payload + piece * (65536 + 16)], true).unwrap_err();
        damage(&error);
    }
    // Pieces in another order, or twice.
    let (first, second) = (payload, payload + 65536 + 16);
    let mut swapped = sealed.clone();
    swapped[first..second + 65536 + 16].rotate_left(65536 + 16);
    damage(&open(&swapped, true).unwrap_err());
    let twice = [&sealed[..second], &sealed[first..]].concat();
    damage(&open(&twice, true).unwrap_err());
}

#[test]
fn something_after_the_end_is_an_error() {
    for encrypted in [true, false] {
        let sealed = seal(b"one", encrypted);
        for more in [&b"x"[..], &[0; 70_000], &seal(b"two", encrypted), b"\x50\x2A\x4D\x18\0\0\0\0"] {
            let error = open(&[&sealed[..], more].concat(), encrypted).unwrap_err();
            damage(&error);
        }
    }
    // Inside of the encryption, too: a second frame, and one that is skipped.
    for more in [&seal(b"two", false)[..], b"\x50\x2A\x4D\x18\0\0\0\0"] {
        let inside = [&seal(b"one", false)[..], more].concat();
        let sealed = age::encrypt(&RECIPIENT.parse::<age::x25519::Recipient>().unwrap(), &inside).unwrap();
        assert_eq!(
            damage(&open(&sealed, true).unwrap_err()),
            OpenError::Damaged("something follows its end".to_owned())
        );
    }
}

#[test]
fn what_is_not_what_the_record_says_is_refused() {
    assert_eq!(damage(&open(&seal(b"x", false), true).unwrap_err()), OpenError::NotAge);
    assert_eq!(damage(&open(b"", true).unwrap_err()), OpenError::Damaged("it is cut in its header".to_owned()));
    assert!(matches!(damage(&open(&seal(b"x", true), false).unwrap_err()), OpenError::Damaged(_)));
    let other = Identities::generate();
    let error = open_sealed(&seal(b"x", true)[..], true, &other).err().unwrap();
    assert_eq!(damage(&error), OpenError::NoIdentityFits(other.recipients()));
    let mut passphrase = age::scrypt::Recipient::new("horse".into());
    passphrase.set_work_factor(2);
    let sealed = age::encrypt(&passphrase, b"x").unwrap();
    assert_eq!(damage(&open(&sealed, true).unwrap_err()), OpenError::Passphrase);
}

#[test]
fn a_header_without_end_is_not_read_to_its_end() {
    struct Endless(u64);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            for byte in buffer.iter_mut() {
                const LINE: &[u8] = b"-> X25519 a\n";
                let begin = b"age-encryption.org/v1\n";
                let at = usize::try_from(self.0).unwrap();
                *byte = begin.get(at).or_else(|| LINE.get((at - begin.len()) % LINE.len())).copied().unwrap();
                self.0 += 1;
            }
            Ok(buffer.len())
        }
    }
    let mut source = Endless(0);
    assert!(open_sealed(&mut source, true, &identities()).is_err());
    assert!(source.0 < 1 << 16, "{}", source.0);
}

#[test]
fn an_error_of_the_source_is_told_as_that() {
    struct Broken<'a>(&'a [u8]);
    impl Read for Broken<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::new(io::ErrorKind::ConnectionReset, "the line was cut")),
                read => Ok(read),
            }
        }
    }
    for encrypted in [true, false] {
        let sealed = seal(&noise(200_000), encrypted);
        for end in [0, 40, sealed.len() / 2, sealed.len()] {
            let read =
                || io::copy(&mut open_sealed(Broken(&sealed[..end]), encrypted, &identities())?, &mut io::sink());
            let error = read().unwrap_err();
            assert_eq!((error.kind(), OpenError::of(&error)), (io::ErrorKind::ConnectionReset, None), "{end}");
        }
    }
}

#[test]
fn the_most_recipients_are_read_again() {
    let many: Vec<String> =
        (0..99).flat_map(|_| Identities::generate().recipients()).chain([RECIPIENT.into()]).collect();
    let recipients = Recipients::parse::<_, &Path>(&many, &[]).unwrap();
    let mut sealer = Sealer::new(Vec::new(), &Encryption::Recipients(recipients)).unwrap();
    sealer.write_all(b"x").unwrap();
    assert_eq!(open(&sealer.finish().unwrap(), true).unwrap(), b"x");
    let too_many = [many, Identities::generate().recipients()].concat();
    assert!(Recipients::parse::<_, &Path>(&too_many, &[]).is_err());
}

#[test]
fn stock_tools_open_ours_and_we_open_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, format!("# mine\n{SECRET}\n")).unwrap();
    let key = key.to_str().unwrap();
    for length in [0, 1, 65536, 400_000] {
        let plain = noise(length);
        let unpacked =
            tool("age", &["-d", "-i", key], &seal(&plain, true)).and_then(|packed| tool("zstd", &["-dc"], &packed));
        assert_eq!(unpacked.unwrap(), plain, "{length}");
        assert_eq!(tool("zstd", &["-dc"], &seal(&plain, false)).unwrap(), plain, "{length}");
        let packed = tool("zstd", &["-c"], &plain).unwrap();
        assert_eq!(open(&packed, false).unwrap(), plain, "{length}");
        let sealed = tool("age", &["-r", RECIPIENT], &packed).unwrap();
        assert_eq!(open(&sealed, true).unwrap(), plain, "{length}");
    }
    // age cannot open it with another key, nor do we.
    let other = folder.path().join("other");
    tool("age-keygen", &["-o", other.to_str().unwrap()], b"").unwrap();
    assert!(tool("age", &["-d", "-i", other.to_str().unwrap()], &seal(b"x", true)).is_err());
    let identities = Identities::read(&[&other], |_| None).unwrap();
    let recipient = tool("age-keygen", &["-y", other.to_str().unwrap()], b"").unwrap();
    assert_eq!(identities.recipients(), [String::from_utf8(recipient).unwrap().trim()]);
    // A list of recipients, as age reads it.
    let list = folder.path().join("recipients");
    std::fs::write(&list, format!("# ours\n\n{RECIPIENT}\n{}\n", identities.recipients()[0])).unwrap();
    let ours = Recipients::parse::<&str, _>(&[], &[&list]).unwrap();
    assert_eq!(ours.names().len(), 2);
    let sealed = tool("age", &["-R", list.to_str().unwrap()], &tool("zstd", &["-c"], b"x").unwrap()).unwrap();
    let mut plain = String::new();
    open_sealed(&sealed[..], true, &identities).unwrap().read_to_string(&mut plain).unwrap();
    assert_eq!(plain, "x");
}

#[test]
fn a_golden_backup_is_opened() {
    let encrypted = include_bytes!("data/golden.zst.age");
    let clear = include_bytes!("data/golden.zst");
    let plain = b"golden\n".repeat(3);
    assert_eq!(open(encrypted, true).unwrap(), plain);
    assert_eq!(open(clear, false).unwrap(), plain);
    // Magic number; a checksum, no size, more than one segment: a stream whose length nobody knew.
    assert_eq!(seal(&plain, false)[..5], [0x28, 0xB5, 0x2F, 0xFD, 0x04]);
}
