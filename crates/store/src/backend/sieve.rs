//! Names in a listing that `object_store` cannot represent, as `a//b`, or takes for another, as `a/`.
//!
//! It would fail with the whole listing because of one of them, and who can write to a bucket could so hide all backups. Such a name is
//! replaced by one that can be represented and is none of ours, before it is parsed.

use object_store::path::Path;

const REPLACEMENT: &str = "name-that-cannot-be-shown";

/// The listing of S3, GCS or Azure with every name replaced that cannot be represented.
pub(crate) fn sieve(listing: &str) -> String {
    let listing = in_element(listing, "<Key>", "</Key>", is_represented);
    let listing = in_element(&listing, "<Blob><Name>", "</Name>", is_represented);
    let folder = |name: &str| is_represented(name.strip_suffix('/').unwrap_or(name));
    let listing = in_element(&listing, "<BlobPrefix><Name>", "</Name>", folder);
    in_element(&listing, "<CommonPrefixes><Prefix>", "</Prefix>", folder)
}

fn in_element(listing: &str, open: &str, close: &str, keep: impl Fn(&str) -> bool) -> String {
    let mut out = String::with_capacity(listing.len());
    let mut rest = listing;
    while let Some((before, after)) = rest.split_once(open) {
        let Some((name, behind)) = after.split_once(close) else { break };
        out.push_str(before);
        out.push_str(open);
        out.push_str(if keep(name) { name } else { REPLACEMENT });
        out.push_str(close);
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn is_represented(escaped: &str) -> bool {
    let same = |name: &String| Path::parse(name).is_ok_and(|path| path.as_ref() == name);
    unescaped(escaped).as_ref().is_some_and(same)
}

/// The text of an element of XML; nothing where a reference is none of XML 1.0.
fn unescaped(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        let (reference, behind) = after.split_once(';')?;
        out.push_str(before);
        out.push(match reference {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => character(reference.strip_prefix('#')?)?,
        });
        rest = behind;
    }
    out.push_str(rest);
    Some(out)
}

fn character(number: &str) -> Option<char> {
    let code = match number.strip_prefix('x') {
        Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16).ok()?,
        None => number.parse().ok()?,
    };
    char::from_u32(code).filter(|&character| character != '\0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_cannot_be_represented_are_replaced() {
        let listing = |names: &[&str]| {
            let keys: String =
                names.iter().map(|name| format!("<Contents><Key>{name}</Key><Size>1</Size></Contents>")).collect();
            format!("<ListBucketResult><Prefix>a//</Prefix>{keys}</ListBucketResult>")
        };
        let good = ["v1/x.json", "a b", "a&amp;b", "&#252;"];
        assert_eq!(sieve(&listing(&good)), listing(&good));
        let bad = ["a//b", "../x", "a/./b", "&#0;", "&nbsp;", "/a", "&", "dir/"];
        assert_eq!(sieve(&listing(&bad)), listing(&[REPLACEMENT; 8]));
        assert_eq!(sieve("<Key>a//b"), "<Key>a//b");
        for folder in
            ["<CommonPrefixes><Prefix>v1/x/</Prefix></CommonPrefixes>", "<BlobPrefix><Name>v1/x/</Name></BlobPrefix>"]
        {
            assert_eq!(sieve(folder), folder);
        }
        assert_eq!(
            sieve("<CommonPrefixes><Prefix>a//</Prefix></CommonPrefixes>"),
            format!("<CommonPrefixes><Prefix>{REPLACEMENT}</Prefix></CommonPrefixes>")
        );
    }
}
